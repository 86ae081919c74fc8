package descriptors

// zeroName is the name of the rule that works unconfigured, and the resource of
// checks that name none.
const zeroName = "default"

// zeroConfiguration is the rule where none is configured: descriptors and
// context extensions named entity (or entity_id), resource and namespace work as
// they are. A descriptor that names no resource has its domain for one.
func zeroConfiguration(rules *Rules, namespace string) *Rule {
	return &Rule{
		name:      zeroName,
		rules:     rules,
		action:    Charge,
		protocols: bothProtocols,
		enforce:   enforceWhole,
		entity:    firstOf("entity", named("entity"), named("entity_id")),
		resource:  firstOf("resource", named("resource"), textVariables["domain"], constant(zeroName)),
		namespace: firstOf("namespace", named("namespace"), constant(namespace)),
		consume:   &consume{each: hitsAmount{}},
	}
}

// firstOf is a text that is the first of some that is there.
func firstOf(name string, readers ...reader) *text {
	read := func(ev *evaluation) string {
		for _, read := range readers {
			if s := read(ev); s != "" {
				return s
			}
		}
		return ""
	}
	return &text{parts: []writer{readText{read}}, source: Text{Value: name}}
}

// named reads the descriptor's entry, or the check's context extension, of a
// name.
func named(name string) reader {
	return func(ev *evaluation) string {
		if ev.req.Protocol == ProtocolRateLimit {
			return entryOf(ev.req.Entries, name)
		}
		return ev.req.ContextExtensions[name]
	}
}

func constant(s string) reader {
	return func(*evaluation) string { return s }
}
