package descriptors

import "testing"

// TestViews uses what a request holds as CEL's own values.
func TestViews(t *testing.T) {
	const yes, no, missing, invalid = "true", "false", "missing", "invalid"
	d := descriptor("d", "a", "1", "b", "2", "a", "3", "empty", "")
	c := check("GET", "/?q=1&q=2", "x", "y")
	c.Source.SANs = []string{"spiffe://a", ""}
	c.Metadata = Object{"f": Object{"n": 1.0, "empty": "", "object": Object{"x": "y"}, "list": someList{"l", nil, true}}}
	for _, v := range []struct {
		match string
		req   *Request
		want  string
	}{
		{`descriptor == {"a": "1", "b": "2"}`, d, yes},
		{`descriptor == {"a": "1", "b": "3"}`, d, no},
		{`{"a": "1", "b": "2"} == descriptor`, d, yes},
		{`descriptor.map(k, k + descriptor[k]).join(",") == "a1,b2"`, d, yes},
		{`dyn(descriptor)["a"] == "1"`, d, yes},
		{`dyn(descriptor)[1] == "1"`, d, invalid},
		{`[descriptor][0].a == "1"`, d, yes},
		{`[descriptor][0].empty == "1"`, d, missing},
		{`("a" + "") in descriptor && !(("empty" + "") in descriptor)`, d, yes},
		{`dyn(1) in descriptor`, d, invalid},
		{`type(descriptor) == map`, d, yes},
		{`string(dyn(descriptor)) == ""`, d, invalid},
		{`entries.size() == 4 && entries[2].value == "3" && entries[0].key == entries[2].key`, d, yes},
		{`entries[0] == entries[0] && entries[0] != entries[2]`, d, yes},
		{`descriptor[?"a"] == optional.of("1") && descriptor[?"empty"] == optional.none()`, d, yes},
		{`dyn(entries[0]) == dyn(1)`, d, no},
		{`type(entries[0]) == type(entries[1])`, d, yes},
		{`string(dyn(entries[0])) == ""`, d, invalid},
		{`has(entries[0].value) && !has(entries[3].value)`, d, yes},
		{`entries[3].value == "x"`, d, missing},
		{`entries[4].value == "x"`, d, missing},
		{`metadata.f.object == {"x": "y"} && metadata.f.list == ["l", null, true]`, c, yes},
		{`metadata.f.map(k, k) == ["list", "n", "object"]`, c, yes},
		{`metadata.f.list[1] == null && metadata.f.list[3] == null`, c, missing},
		{`metadata.f.list.exists(x, x == true)`, c, yes},
		{`size(metadata) == 1 && size(route_metadata) == 0`, c, yes},
		{`route_metadata == {}`, c, yes},
		{`request.query_params == {"q": "1"} && request.headers == {"x": "y"}`, c, yes},
		{`context_extensions == {}`, c, yes},
		{`source.sans == ["spiffe://a"] && has(source.sans) && type(source.sans) == list`, c, yes},
		{`source.sans[1] == "x"`, c, missing},
		{`source.?sans.orValue(["x"])[0] == "spiffe://a"`, c, yes},
		{`has(source.sans) || source.sans.size() > 0`, check("GET", "/"), no},
		{`source.sans[0] == "x"`, check("GET", "/"), missing},
		{`source.?sans.orValue(["x"])[0] == "x"`, check("GET", "/"), yes},
	} {
		ev := newEvaluation(clientIP{}, newSANs())
		ev.begin(v.req, nil)
		holds, err := conditionFor(t, v.match, true).holds(ev)
		got := kindOf(err)
		if err == nil {
			got = map[bool]string{true: yes, false: no}[holds]
		}
		if got != v.want {
			t.Errorf("%s: %s, want %s (%v)", v.match, got, v.want, err)
		}
	}
}
