package awslocal

import (
	"encoding/xml"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

func bucketName(stack, resource string) string { return strings.ToLower(stack + "-" + resource) }

// storage answers for S3, by bucket and key in the path.
func (s *Server) storage(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	objects := s.buckets[bucket]
	q := r.URL.Query()
	switch {
	case objects == nil:
		w.WriteHeader(http.StatusNotFound)
		write(w, node("Error", text("Code", "NoSuchBucket"), text("Message", "The specified bucket does not exist")))
	case r.Method == http.MethodPut && key != "":
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		objects[key] = body
	case r.Method == http.MethodGet && q.Has("versions"):
		list := node("ListVersionsResult", text("Name", bucket))
		for i, k := range slices.Sorted(maps.Keys(objects)) {
			if i == 2 { // a small page
				list.children = append(list.children, text("NextKeyMarker", k), text("NextVersionIdMarker", "null"))
				break
			}
			list.children = append(list.children, node("Version", text("Key", k), text("VersionId", "null")))
		}
		list.children = append(list.children, text("IsTruncated", strconv.FormatBool(len(objects) > 2)))
		write(w, list)
	case r.Method == http.MethodPost && q.Has("delete"):
		var of struct {
			Object []struct{ Key string }
		}
		if err := xml.NewDecoder(r.Body).Decode(&of); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for _, o := range of.Object {
			delete(objects, o.Key)
		}
		write(w, node("DeleteResult"))
	default:
		w.WriteHeader(http.StatusNotImplemented)
	}
}

// element is one of XML.
type element struct {
	name     string
	content  string
	children []*element
}

func node(name string, children ...*element) *element {
	return &element{name: name, children: children}
}
func text(name, content string) *element { return &element{name: name, content: content} }

func write(w io.Writer, e *element) {
	b := new(strings.Builder)
	e.write(b)
	_, _ = io.WriteString(w, b.String())
}

func (e *element) write(b *strings.Builder) {
	b.WriteString("<" + e.name + ">")
	_ = xml.EscapeText(b, []byte(e.content))
	for _, c := range e.children {
		if c != nil {
			c.write(b)
		}
	}
	b.WriteString("</" + e.name + ">")
}
