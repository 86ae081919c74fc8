package config

import (
	"io"

	"github.com/extauthz/extauthz/internal/config/yamltree"
	"github.com/extauthz/extauthz/pkg/hierarchy"
)

// LoadManifest reads a manifest: what stands under `limits:` in a configuration
// file, with the name of its manager. The Report is never nil; where it has
// errors the Manifest is empty. A path of - is what stdin has.
func LoadManifest(path string, stdin io.Reader) (hierarchy.Manifest, *Report) {
	var text []byte
	var err error
	if path == "-" {
		text, err = readFrom(stdin)
	} else {
		text, err = read(path)
	}
	if err != nil {
		return hierarchy.Manifest{}, refused(path, err.Error(), "")
	}
	return ParseManifest(path, text)
}

// ParseManifest is [LoadManifest] for a text that goes by a path.
func ParseManifest(path string, text []byte) (hierarchy.Manifest, *Report) {
	r, ok := parse(path, text)
	if !ok {
		return hierarchy.Manifest{}, r.report
	}
	var m hierarchy.Manifest
	root := r.file.Root
	switch {
	case root.Kind == yamltree.KindMapping:
		manager := field{"manager", func(key, value *yamltree.Node) { m.Manager, _ = r.filled(key, value) }}
		r.fields(nil, root, "the manifest", append(r.documentFields(&m.Document), manager))
		r.checkDocument(m.Document, root)
	case root.Kind != yamltree.KindBad && r.report.errors == 0:
		r.report.add(&Problem{Origin: path, Message: "the manifest must be a mapping: keys and their values"})
	}
	if m.Manager == "" && root.Find("manager") == nil && r.report.errors == 0 {
		r.report.add(&Problem{Origin: path, Message: "the manifest has no manager", Hint: "manager: NAME says whose the limits are, so that nobody else's are touched"})
	}
	r.report.sort()
	if r.report.errors > 0 {
		return hierarchy.Manifest{}, r.report
	}
	return m, r.report
}
