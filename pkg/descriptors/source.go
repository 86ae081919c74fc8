package descriptors

// Position is a place in a configuration file; lines and columns count from 1,
// columns in characters.
type Position struct {
	File         string
	Line, Column int
}

// Text is a configured text and where it stands. The zero value is an absent
// text; a text that is present is never empty.
type Text struct {
	Value string
	// Locate tells where the byte at an offset of Value stands in its file.
	// Nil when the text comes from no file.
	Locate func(offset int) Position
}

// Present reports whether the text was given at all.
func (t Text) Present() bool { return t.Value != "" }

// At is the position of the byte at offset, or the zero position.
func (t Text) At(offset int) Position {
	if t.Locate == nil {
		return Position{}
	}
	return t.Locate(offset)
}

// NamedText is one entry of a mapping: a limit and what it is charged, a
// header and its value.
type NamedText struct {
	Name  Text
	Value Text
}

// LimitText is one limit of a rule's default_limits: either Text in the short
// form (`60/min:120`), or Rate and, optionally, Burst of the long one.
type LimitText struct {
	Name        Text
	Text        Text
	Rate, Burst Text
}

// RuleSource is one rule as it was written, before it is compiled. Each field
// is the key of the same name in the configuration file.
type RuleSource struct {
	Name     Text // required, unique
	Match    Text
	Action   Text // charge (default) | allow | deny
	Protocol Text // ratelimit | ext_authz; absent: by the variables the rule uses
	Continue Text // true | false
	Settle   Text // true | false
	// Independent is true | false: whether the charge is decided by itself.
	Independent Text
	// Refunds is true | false: whether hits that are given back are credited.
	Refunds Text
	Enforce Text // 10%

	Namespace Text
	Entity    Text
	Resource  Text
	Tier      Text

	// Consume is one expression for every limit; or ConsumeEach names limits.
	Consume     Text
	ConsumeEach []NamedText

	DefaultLimits []LimitText

	OnAllow *AnswerSource
	OnDeny  *AnswerSource
}

// AnswerSource is what on_allow or on_deny says. On allow only headers may be
// given.
type AnswerSource struct {
	Status      Text
	Body        Text
	ContentType Text
	Headers     []NamedText
}
