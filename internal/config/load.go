package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/pflag"

	"github.com/extauthz/extauthz/internal/config/yamltree"
	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// MaxBytes is the size of the largest file that is read.
const MaxBytes = 16 << 20

// Options say what counts beside the file.
type Options struct {
	// Flags are those that [Flags] made, once they are parsed; nil: none are set.
	Flags *pflag.FlagSet
	// LeaveFiles leaves the files unread that the configuration names, for who
	// doesn't use them, or uses them already and hears of their faults otherwise.
	LeaveFiles bool
}

// Load reads a configuration file, with the environment and the flags over it,
// and checks all of it. The Report is never nil; where it has errors the Config
// is nil. Without a path there is no file: what it would say is by default. A
// file without a word in it is an error.
func Load(path string, opts Options) (*Config, *Report) {
	if path == "" {
		return Parse("", nil, opts)
	}
	text, err := read(path)
	if err != nil {
		return nil, refused(path, err.Error(), "")
	}
	// A file that is written in place is empty for a moment. Taken at its word
	// it would drop every rule and limit until it is written.
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, refused(path, "the file is empty", "write {} to say nothing")
	}
	return Parse(path, text, opts)
}

// read reads a file that isn't too large.
func read(path string) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the path is whoever starts the process's to choose
	if err != nil {
		return nil, reason(err)
	}
	defer func() { _ = f.Close() }() // it was only read
	return readFrom(f)
}

// readFrom reads a byte more than is taken, so that too large can be told.
func readFrom(in io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(in, MaxBytes+1))
	if err != nil {
		return nil, reason(err)
	}
	return text, nil
}

// refused reports that nothing can be read, and why.
func refused(path, message, hint string) *Report {
	report := &Report{}
	report.add(&Problem{Origin: path, Message: message, Hint: hint})
	return report
}

// parse reads the tree of a text that goes by a path. Where it is too large
// there is none, and the reader's report says so.
func parse(path string, text []byte) (r *reader, ok bool) {
	return parseInto(&Report{}, path, text, yamltree.Parse)
}

// parseInto is parse for a report that may have problems of other files.
func parseInto(report *Report, path string, text []byte, parse func([]byte) *yamltree.File) (r *reader, ok bool) {
	if len(text) > MaxBytes {
		report.add(&Problem{Origin: path, Message: fmt.Sprintf("the file is larger than %d MiB", MaxBytes>>20)})
		return &reader{name: path, report: report}, false
	}
	r = &reader{name: path, report: report, file: parse(text)}
	report.has(path, r.file)
	for _, f := range r.file.Faults {
		r.faultAt(f.At, f.Width, f.Message, f.Hint)
	}
	r.report.errors += r.file.Found - len(r.file.Faults)
	return r, true
}

// reason leaves out of an error what the report says anyway: the path.
func reason(err error) error {
	if e := new(fs.PathError); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// Parse is [Load] for the text of a file that goes by a path.
func Parse(path string, text []byte, opts Options) (*Config, *Report) {
	r, ok := parse(path, text)
	if !ok {
		return nil, r.report
	}
	c := r.config(opts)
	r.report.sort()
	if r.report.errors > 0 {
		return nil, r.report
	}
	sum := sha256.Sum256(text)
	c.Path, c.Sum = path, hex.EncodeToString(sum[:6])
	return c, r.report
}

// config reads the tree.
func (r *reader) config(opts Options) *Config {
	r.misspelt(os.Environ())
	root := r.file.Root
	p := process{}
	written := rules{faulty: map[descriptors.Position]bool{}}
	var c Config
	switch root.Kind {
	case yamltree.KindScalar, yamltree.KindSequence:
		r.fault(root, "the file must be a mapping: keys and their values", "")
	case yamltree.KindMapping:
		r.fields(nil, root, "the file", append(p.sections(r), r.rulesField(&written), r.limitsField(&c.Limits)))
	}
	l, err := r.layer(p, opts.Flags)
	if err != nil {
		r.report.add(&Problem{Message: err.Error()})
		return nil
	}
	env := l.adopt()
	settled := l.settle(opts)
	limits := c.Limits
	c = settled.Config
	c.Limits = limits
	r.check(limits, root)
	if c.Ratelimit.Folder != "" {
		r.adopted(&c, &env, &written)
		return &c
	}
	c.Rules = r.compile(&written, descriptors.Options{
		Namespace: c.Namespace, ClientIP: l.clientIP(settled), DenyNoMatch: c.DenyNoMatch,
	}, l)
	return &c
}

// compile compiles the rules and reports what is wrong with them.
func (r *reader) compile(written *rules, opts descriptors.Options, l *layers) *descriptors.Rules {
	if ratelimit.CheckNamespace(opts.Namespace) != nil { // which was reported
		opts.Namespace = "default"
	}
	compiled, faults, warnings := descriptors.Compile(written.sources, opts)
	for _, f := range faults {
		if f.Source.Present() && written.faulty[f.Pos] {
			continue
		}
		r.compiled(f, false, l)
	}
	if r.report.errors == 0 { // else they may follow from an error
		for _, f := range warnings {
			r.compiled(f, true, l)
		}
	}
	return compiled
}

// compiled reports a fault of the rules. One without a place is of client_ip
// where it came from a flag or the environment.
func (r *reader) compiled(f *descriptors.Fault, warning bool, l *layers) {
	if f.Pos.Line > 0 {
		r.report.addFault(f, warning)
		return
	}
	l.problem(&setting{key: "client_ip"}, warning, f.Message, f.Hint)
}
