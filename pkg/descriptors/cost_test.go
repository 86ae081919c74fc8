package descriptors

import (
	"strings"
	"testing"
)

// TestTextsThatGrowTooLong has texts that grow in two steps, each by as much as
// a request allows: what CEL doesn't follow the size of is no way around.
func TestTextsThatGrowTooLong(t *testing.T) {
	const once = `descriptor.a.replace("a", descriptor.b)`
	for _, grown := range []string{
		once, `dyn(` + once + `)`, `string(` + once + `)`, `string(dyn(` + once + `))`, `(` + once + ` + "x")`,
		`[` + once + `][0]`, `[[` + once + `]][0][0]`, `{"x": ` + once + `}.x`, `{"x": ` + once + `}["x"]`, `{"x": {"y": ` + once + `}}.x.y`,
		`dyn({"x": ` + once + `, "y": 1}).x`, `{"x": ` + once + `, "y": 1}.x`, `[{"x": ` + once + `}][0].x`, `[` + once + `, 1][0]`,
		`{` + once + `: 1}.map(k, k)[0]`, `[{"x": ` + once + `}].map(m, m.x)[0]`, `[dyn(` + once + `)].map(m, m)[0]`,
		`"%s".format([` + once + `])`, `[` + once + `].join("")`, `optional.of(` + once + `).value()`, `optional.of(` + once + `).orValue("")`,
		`[` + once + `].filter(x, true)[0]`, `[` + once + `][?0].value()`, `{"x": ` + once + `}[?"x"].orValue("")`, `{"x": ` + once + `}.?x.value()`,
		`string(bytes(` + once + `))`, `strings.quote(` + once + `)`, once + `.lowerAscii()`, once + `.substring(1)`, once + `.trim()`, once + `.reverse()`,
	} {
		for _, source := range []string{grown + `.replace("a", descriptor.b)`, grown + `.split("").join(descriptor.b)`} {
			c := compilerFor(t, true)
			c.text("text", at("${"+source+"}", 1))
			if len(c.errors) == 0 || !strings.Contains(c.errors[0].Message, "too long for one request") {
				t.Errorf("%s: %v", source, c.errors)
			}
		}
	}
}

// TestTextsThatStayShort has what rules may well do with texts.
func TestTextsThatStayShort(t *testing.T) {
	for _, source := range []string{
		`descriptor.a.replace("-", "_").lowerAscii().replace("/", ".")`,
		`"k-" + sha256(request.headers["authorization"].replace("Bearer ", ""))`,
		`request.headers["authorization"].split(" ")[1].lowerAscii().replace("a", "b")`,
		`{"gold": "g", "free": "f"}[descriptor.plan] + "-" + descriptor.user`,
		`string(metadata.f.n) + "-" + string(metadata.f.t).lowerAscii()`,
		`"%s/%s".format([descriptor.a, descriptor.b]).lowerAscii()`,
		`entries.filter(e, e.key.startsWith("x-")).map(e, e.key + "=" + e.value).join("&").lowerAscii()`,
		`request.headers[?"x-user"].orValue("nobody").lowerAscii().replace("@", "-")`,
		`string(hits) + "-" + string(timestamp(metadata.f.t).getHours())`,
		`metadata.f.roles.exists(r, r in metadata.f.wanted) ? "admin" : "user"`,
		`request.url_path.matches("^/v1/(orders|items)/[0-9]+$") ? request.url_path.split("/")[2] : "other"`,
	} {
		c := compilerFor(t, true)
		c.text("text", at("${"+source+"}", 1))
		for _, err := range c.errors {
			t.Errorf("%s: %s", source, err.Message)
		}
	}
}
