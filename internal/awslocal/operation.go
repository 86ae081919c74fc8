package awslocal

import (
	"fmt"
	"slices"
	"time"
)

// stack is one that CloudFormation knows.
type stack struct {
	server *Server

	name, id, status, reason string
	protected                bool
	createdAt, updatedAt     time.Time
	events                   []event // the oldest first

	body     string
	template *template
	values   map[string]string
	tags     map[string]string
	made     map[string]*resource

	doing *operation
}

type event struct {
	id, resource, physical, kind, status, reason string
	at                                           time.Time
}

// The kinds of operations.
const (
	create = "CREATE"
	update = "UPDATE"
	remove = "DELETE"
)

// operation is one under way.
type operation struct {
	kind  string
	set   *changeSet
	todo  []string // resources
	seen  int      // how often the stack was looked at before it began
	begun bool
	back  bool // it is being undone
	made  []string
	left  bool // something could not be removed
}

func (st *stack) busy() bool { return st.doing != nil }

func (st *stack) begin(o *operation) {
	st.doing = o
	switch o.kind {
	case create, update:
		for _, name := range sorted(o.set.template.Resources) {
			if slices.ContainsFunc(o.set.changes, func(c change) bool { return c.resource == name && c.action != "Remove" }) {
				o.todo = append(o.todo, name)
			}
		}
		if i := slices.Index(o.todo, "Table"); i > 0 { // much asks for its name
			o.todo = slices.Insert(slices.Delete(o.todo, i, i+1), 0, "Table")
		}
	case remove:
		o.todo = sorted(st.made)
	}
}

// rendered is what the stack's template makes with its parameters.
func (st *stack) rendered() *rendering { return &rendering{st.template, st.name, st.values} }

func (st *stack) tableProtected() bool {
	t := st.made["Table"]
	return t != nil && t.text["DeletionProtectionEnabled"] == "true"
}

// advance goes on with what is under way.
func (st *stack) advance() {
	o := st.doing
	if o == nil {
		return
	}
	if !o.begun {
		st.look()
		return
	}
	for range st.server.perAsk {
		if len(o.todo) == 0 {
			st.end()
			return
		}
		name := o.todo[0]
		o.todo = o.todo[1:]
		if o.kind == remove || o.back && o.kind == create {
			st.unmake(name)
		} else {
			st.make(name)
		}
	}
}

// lag is how often it is looked for an operation in vain.
const lag = 3

// look has what is under way be seen, after a while.
func (st *stack) look() {
	if o := st.doing; o != nil && !o.begun {
		if o.seen++; o.seen > lag {
			o.begun = true
			st.set(o.kind+"_IN_PROGRESS", "User Initiated")
		}
	}
}

// make makes or changes a resource.
func (st *stack) make(name string) {
	o := st.doing
	if o.back { // of an update: it is as it was
		st.say(name, "UPDATE_COMPLETE", "")
		return
	}
	kind := create
	if st.made[name] != nil {
		kind = update
	}
	wanted := (&rendering{o.set.template, st.name, o.set.values}).resources()[name]
	st.sayOf(wanted, name, kind+"_IN_PROGRESS", "")
	reason := st.server.failing[name]
	if reason == "" && kind == create {
		reason = st.server.bring(st, name, wanted, o.set)
	}
	if reason == "" {
		if kind == create {
			o.made = append(o.made, name)
			st.made[name] = wanted
		}
		st.sayOf(wanted, name, kind+"_COMPLETE", "")
		return
	}
	st.sayOf(wanted, name, kind+"_FAILED", reason)
	for _, other := range o.todo[:min(1, len(o.todo))] {
		st.sayOf(wanted, other, kind+"_FAILED", "Resource creation cancelled")
	}
	o.back = true
	switch o.kind {
	case create:
		o.todo = sorted(st.made)
		st.set("ROLLBACK_IN_PROGRESS", fmt.Sprintf("The following resource(s) failed to create: [%s]. Rollback requested by user.", name))
	case update:
		for _, made := range o.made {
			st.server.take(st, made)
			delete(st.made, made)
		}
		o.todo = nil
		st.set("UPDATE_ROLLBACK_IN_PROGRESS", fmt.Sprintf("The following resource(s) failed to update: [%s].", name))
	}
}

// unmake removes a resource.
func (st *stack) unmake(name string) {
	st.say(name, "DELETE_IN_PROGRESS", "")
	if reason := st.server.take(st, name); reason != "" {
		st.say(name, "DELETE_FAILED", reason)
		st.doing.left = true
		return
	}
	st.say(name, "DELETE_COMPLETE", "")
	delete(st.made, name)
}

// end ends what is under way.
func (st *stack) end() {
	o := st.doing
	switch {
	case o.kind == update && !o.back && st.status != "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS":
		st.adopt(o.set)
		st.set("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "")
		return
	case o.kind == create && !o.back:
		st.set("CREATE_COMPLETE", "")
	case o.kind == create && o.left:
		st.set("ROLLBACK_FAILED", "The following resource(s) failed to delete.")
	case o.kind == create:
		st.set("ROLLBACK_COMPLETE", "")
	case o.kind == update && o.back:
		st.set("UPDATE_ROLLBACK_COMPLETE", "")
	case o.kind == update:
		st.set("UPDATE_COMPLETE", "")
	case o.left:
		st.set("DELETE_FAILED", "The following resource(s) failed to delete.")
	default:
		st.set("DELETE_COMPLETE", "")
	}
	st.doing = nil
}

// adopt has the stack be what a change set makes of it. What is removed goes, or
// is left behind.
func (st *stack) adopt(set *changeSet) {
	st.body, st.template, st.values, st.tags = set.body, set.template, set.values, set.tags
	is := st.rendered().resources()
	for _, name := range sorted(st.made) {
		if is[name] == nil {
			_ = st.server.take(st, name)
			delete(st.made, name)
		} else {
			st.made[name] = is[name]
		}
	}
	st.updatedAt = time.Now()
}

func (st *stack) set(status, reason string) {
	st.status, st.reason = status, reason
	st.add(event{resource: st.name, physical: st.id, kind: "AWS::CloudFormation::Stack", status: status, reason: reason})
}

func (st *stack) say(name, status, reason string) { st.sayOf(st.made[name], name, status, reason) }

func (st *stack) sayOf(of *resource, name, status, reason string) {
	kind := ""
	if of != nil {
		kind = of.kind
	}
	st.add(event{resource: name, physical: physical(st.name, name), kind: kind, status: status, reason: reason})
}

func (st *stack) add(e event) {
	st.server.count++
	e.id, e.at = fmt.Sprintf("event-%d", st.server.count), time.Now()
	st.events = append(st.events, e)
}

// bring makes what is more than an event, and says why it can't.
func (s *Server) bring(st *stack, name string, is *resource, set *changeSet) (reason string) {
	switch is.kind {
	case "AWS::DynamoDB::Table":
		if err := s.ask("CreateTable", map[string]any{
			"TableName": st.name, "BillingMode": "PAY_PER_REQUEST",
			"KeySchema": is.properties["KeySchema"], "AttributeDefinitions": is.properties["AttributeDefinitions"],
		}); err != nil {
			return err.Error()
		}
	case "AWS::S3::Bucket":
		s.buckets[bucketName(st.name, name)] = map[string][]byte{}
	case "AWS::Lambda::Function":
		bucket := bucketName(st.name, "CodeBucket")
		if given := set.values["AggregatorCodeBucket"]; given != "" {
			bucket = given
		}
		if s.buckets[bucket][set.values["AggregatorCodeKey"]] == nil {
			return "Error occurred while GetObject. S3 Error Code: NoSuchKey"
		}
	}
	return ""
}

// take removes it, and says why it can't.
func (s *Server) take(st *stack, name string) (reason string) {
	switch st.made[name].kind {
	case "AWS::DynamoDB::Table":
		if st.tableProtected() {
			return "Resource handler returned message: \"Resource cannot be deleted as it is currently protected against deletion.\""
		}
		if err := s.ask("DeleteTable", map[string]any{"TableName": st.name}); err != nil {
			return err.Error()
		}
	case "AWS::S3::Bucket":
		if len(s.buckets[bucketName(st.name, name)]) > 0 {
			return "The bucket you tried to delete is not empty"
		}
		delete(s.buckets, bucketName(st.name, name))
	}
	return ""
}
