package awslocal

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The sizes of pages, small enough to need several.
const (
	pageOfStacks  = 2
	pageOfEvents  = 5
	pageOfChanges = 7
)

// fault is an answer that is an error.
type fault struct{ code, message string }

func invalid(message string) (*element, *fault) { return nil, &fault{"ValidationError", message} }

func missing(name string) (*element, *fault) {
	return invalid("Stack with id " + name + " does not exist")
}

// formation answers for CloudFormation, in its query protocol.
func (s *Server) formation(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	action := r.Form.Get("Action")
	actions := map[string]func(url.Values) (*element, *fault){
		"DescribeStacks": s.describeStacks, "DescribeStackEvents": s.describeStackEvents,
		"DescribeStackResources": s.describeStackResources, "GetTemplate": s.getTemplate,
		"CreateChangeSet": s.createChangeSet, "DescribeChangeSet": s.describeChangeSet,
		"ExecuteChangeSet": s.executeChangeSet, "DeleteChangeSet": s.deleteChangeSet, "DeleteStack": s.deleteStack,
	}
	s.calls[action]++
	var result *element
	problem := &fault{"InvalidAction", "no such action: " + action}
	if s.throttle > 0 {
		s.throttle--
		problem = &fault{"Throttling", "Rate exceeded"}
	} else if do := actions[action]; do != nil {
		result, problem = do(r.Form)
	}
	w.Header().Set("Content-Type", "text/xml")
	if problem != nil {
		w.WriteHeader(http.StatusBadRequest)
		write(w, node("ErrorResponse",
			node("Error", text("Type", "Sender"), text("Code", problem.code), text("Message", problem.message)),
			text("RequestId", "1")))
		return
	}
	result.name = action + "Result"
	write(w, node(action+"Response", result, node("ResponseMetadata", text("RequestId", "1"))))
}

// page is a part of a list and the token of the next.
func page[T any](all []T, token string, size int) ([]T, *element) {
	from, _ := strconv.Atoi(token)
	if to := from + size; to < len(all) {
		return all[from:to], text("NextToken", strconv.Itoa(to))
	}
	return all[from:], nil
}

func instant(name string, t time.Time) *element {
	if t.IsZero() {
		return nil
	}
	return text(name, t.UTC().Format(time.RFC3339Nano))
}

func pairs(name, key, value string, m map[string]string) *element {
	l := node(name)
	for _, k := range sorted(m) {
		l.children = append(l.children, node("member", text(key, k), text(value, m[k])))
	}
	return l
}

func (s *Server) describeStacks(form url.Values) (*element, *fault) {
	name := form.Get("StackName")
	var found []*stack
	for _, st := range s.stacks {
		if name == "" && st.status != "DELETE_COMPLETE" {
			found = append(found, st)
		}
	}
	if name != "" {
		st := s.find(name)
		if st == nil {
			return missing(name)
		}
		st.look()
		found = append(found, st)
	}
	part, next := page(found, form.Get("NextToken"), pageOfStacks)
	l := node("Stacks")
	for _, st := range part {
		var outputs map[string]string
		if st.made != nil && st.status != "DELETE_COMPLETE" {
			outputs = st.rendered().outputs()
		}
		l.children = append(l.children, node("member",
			text("StackId", st.id), text("StackName", st.name), text("StackStatus", st.status), text("StackStatusReason", st.reason),
			text("EnableTerminationProtection", strconv.FormatBool(st.protected)),
			instant("CreationTime", st.createdAt), instant("LastUpdatedTime", st.updatedAt),
			pairs("Parameters", "ParameterKey", "ParameterValue", st.values),
			pairs("Outputs", "OutputKey", "OutputValue", outputs), pairs("Tags", "Key", "Value", withOwn(st.tags))))
	}
	return node("", l, next), nil
}

// withOwn are tags with one of AWS's own, which nobody may set.
func withOwn(tags map[string]string) map[string]string {
	all := maps.Clone(tags)
	if all == nil {
		all = map[string]string{}
	}
	all["aws:of"] = "aws"
	return all
}

func (s *Server) describeStackEvents(form url.Values) (*element, *fault) {
	st := s.find(form.Get("StackName"))
	if st == nil {
		return missing(form.Get("StackName"))
	}
	if form.Get("NextToken") == "" {
		st.advance()
	}
	newest := slices.Clone(st.events)
	slices.Reverse(newest)
	part, next := page(newest, form.Get("NextToken"), pageOfEvents)
	l := node("StackEvents")
	for _, e := range part {
		l.children = append(l.children, node("member",
			text("StackId", st.id), text("StackName", st.name), text("EventId", e.id), instant("Timestamp", e.at),
			text("LogicalResourceId", e.resource), text("PhysicalResourceId", e.physical), text("ResourceType", e.kind),
			text("ResourceStatus", e.status), text("ResourceStatusReason", e.reason)))
	}
	return node("", l, next), nil
}

func (s *Server) describeStackResources(form url.Values) (*element, *fault) {
	st := s.find(form.Get("StackName"))
	if st == nil {
		return missing(form.Get("StackName"))
	}
	l := node("StackResources")
	for _, name := range sorted(st.made) {
		l.children = append(l.children, node("member",
			text("LogicalResourceId", name), text("PhysicalResourceId", physical(st.name, name)),
			text("ResourceType", st.made[name].kind), text("ResourceStatus", "CREATE_COMPLETE"), instant("Timestamp", st.createdAt)))
	}
	return node("", l), nil
}

func (s *Server) getTemplate(form url.Values) (*element, *fault) {
	st := s.find(form.Get("StackName"))
	if st == nil {
		return missing(form.Get("StackName"))
	}
	return node("", text("TemplateBody", st.body)), nil
}

// members are a list of pairs in a form.
func members(form url.Values, name, key, value string) map[string]string {
	m := map[string]string{}
	for i := 1; ; i++ {
		at := name + ".member." + strconv.Itoa(i) + "."
		if !form.Has(at + key) {
			return m
		}
		m[form.Get(at+key)] = form.Get(at + value)
	}
}

// refuseChangeSet is why there can't be a change set of a stack; nil: there can.
func refuseChangeSet(form url.Values, st *stack) *fault {
	name, creates := form.Get("StackName"), form.Get("ChangeSetType") == create
	invalid := func(message string) *fault { return &fault{"ValidationError", message} }
	switch {
	case form.Get("Capabilities.member.1") != "CAPABILITY_NAMED_IAM":
		return &fault{"InsufficientCapabilitiesException", "Requires capabilities : [CAPABILITY_NAMED_IAM]"}
	case st != nil && creates && st.status != "REVIEW_IN_PROGRESS":
		return invalid("Stack [" + name + "] already exists and cannot be created with the changeSet [" + form.Get("ChangeSetName") + "].")
	case st == nil && !creates:
		return invalid("Stack [" + name + "] does not exist")
	case st != nil && st.busy():
		return invalid("Stack:" + st.id + " is in " + st.doing.kind + "_IN_PROGRESS state and can not be updated.")
	case st != nil && (strings.HasPrefix(st.status, "ROLLBACK") || strings.HasPrefix(st.status, "DELETE")):
		return invalid("Stack:" + st.id + " is in " + st.status + " state and can not be updated.")
	}
	return nil
}

func (s *Server) createChangeSet(form url.Values) (*element, *fault) {
	name := form.Get("StackName")
	st := s.find(name)
	if problem := refuseChangeSet(form, st); problem != nil {
		return nil, problem
	}
	for k := range members(form, "Tags", "Key", "Value") {
		if strings.HasPrefix(k, "aws:") {
			return invalid("aws: prefixed tag key names are not allowed for external use.")
		}
	}
	set := &changeSet{create: form.Get("ChangeSetType") == create, body: form.Get("TemplateBody"), tags: members(form, "Tags", "Key", "Value")}
	t, err := parse(set.body)
	if err != nil {
		return invalid(err.Error())
	}
	set.template = t
	if set.values, err = t.complete(members(form, "Parameters", "ParameterKey", "ParameterValue")); err != nil {
		return invalid(err.Error())
	}
	if st == nil {
		st = &stack{server: s, name: name, id: s.newID("stack", name), createdAt: time.Now(), made: map[string]*resource{}, template: t, values: set.values, tags: set.tags}
		s.stacks = append(s.stacks, st)
		st.set("REVIEW_IN_PROGRESS", "User Initiated")
	}
	set.stack, set.id = st, s.newID("changeSet", name)
	is := (&rendering{t, name, set.values}).resources()
	set.changes = difference(st.made, is, !set.create && !maps.Equal(st.tags, set.tags))
	s.sets[set.id] = set
	return node("", text("Id", set.id), text("StackId", st.id)), nil
}

func (s *Server) describeChangeSet(form url.Values) (*element, *fault) {
	set := s.sets[form.Get("ChangeSetName")]
	if set == nil {
		return nil, &fault{"ChangeSetNotFound", "ChangeSet does not exist"}
	}
	set.looked++
	status, reason := "CREATE_COMPLETE", ""
	switch {
	case set.looked == 1:
		return node("", text("Status", "CREATE_IN_PROGRESS")), nil
	case len(set.changes) == 0:
		status, reason = "FAILED", "The submitted information didn't contain changes. Submit different information to create a change set."
	}
	part, next := page(set.changes, form.Get("NextToken"), pageOfChanges)
	l := node("Changes")
	for _, c := range part {
		l.children = append(l.children, node("member", text("Type", "Resource"), c.element()))
	}
	return node("", text("Status", status), text("StatusReason", reason), l, next), nil
}

func (c *change) element() *element {
	scope, details := node("Scope"), node("Details")
	switch {
	case c.tagsAlone:
		scope.children = append(scope.children, text("member", "Tags"))
		details.children = append(details.children, node("member", node("Target", text("Attribute", "Tags"))))
	case len(c.properties) > 0:
		scope.children = append(scope.children, text("member", "Properties"))
	}
	for _, p := range c.properties {
		details.children = append(details.children, node("member", node("Target", text("Attribute", "Properties"), text("Name", p))))
	}
	of := node("ResourceChange", text("Action", c.action), text("LogicalResourceId", c.resource), text("ResourceType", c.kind), scope, details)
	if c.replacement != "" {
		of.children = append(of.children, text("Replacement", c.replacement))
	}
	return of
}

func (s *Server) executeChangeSet(form url.Values) (*element, *fault) {
	set := s.sets[form.Get("ChangeSetName")]
	switch {
	case set == nil:
		return nil, &fault{"ChangeSetNotFound", "ChangeSet does not exist"}
	case set.stack.busy():
		return nil, &fault{"InvalidChangeSetStatus", "ChangeSet cannot be executed in its current status"}
	}
	for id, other := range s.sets { // they are of what was
		if other.stack == set.stack {
			delete(s.sets, id)
		}
	}
	kind := update
	if set.create {
		kind = create
		set.stack.body, set.stack.template, set.stack.values, set.stack.tags = set.body, set.template, set.values, set.tags
	}
	set.stack.begin(&operation{kind: kind, set: set})
	return node(""), nil
}

func (s *Server) deleteChangeSet(form url.Values) (*element, *fault) {
	delete(s.sets, form.Get("ChangeSetName"))
	return node(""), nil
}

func (s *Server) deleteStack(form url.Values) (*element, *fault) {
	st := s.find(form.Get("StackName"))
	switch {
	case st == nil:
		return node(""), nil
	case st.protected:
		return invalid("Stack [" + st.name + "] cannot be deleted while TerminationProtection is enabled")
	case st.status == "REVIEW_IN_PROGRESS":
		st.set("DELETE_COMPLETE", "")
	default:
		st.begin(&operation{kind: remove})
	}
	return node(""), nil
}
