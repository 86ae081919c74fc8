package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/extauthz/extauthz/internal/config/yamltree"
	"github.com/extauthz/extauthz/pkg/descriptors"
)

// Report is everything that is wrong or doubtful in a configuration. Its text
// is for people: each problem with its source line and a caret.
type Report struct {
	// Problems are in the order of the files, those from elsewhere before them.
	// No more than 1,000 are kept.
	Problems []Problem

	errors, warnings int                       // all of them
	files            map[string]*yamltree.File // :: name -> those that positions are of
}

// maxProblems bounds what is kept: beyond it nobody reads.
const maxProblems = 1000

// Problem is one thing that is wrong or doubtful.
type Problem struct {
	Pos     descriptors.Position // zero when it isn't in the file
	Origin  string               // where else it is: --grpc, EXTAUTHZ_NAMESPACE, or a path
	Warning bool                 // the configuration can be used all the same
	Message string
	Hint    string // what to do about it; may be empty
	Source  string // the line of the file
	Width   int    // of what is at fault, in characters from Pos on
}

// String is the problem in one line: file:line:column: message (hint).
func (p *Problem) String() string {
	s := p.where() + p.Message
	if p.Hint != "" {
		s += " (" + p.Hint + ")"
	}
	return s
}

func (p *Problem) where() string {
	where := p.Origin
	if p.Pos.Line > 0 {
		where = fmt.Sprintf("%s:%d:%d", p.Pos.File, p.Pos.Line, p.Pos.Column)
	}
	if where != "" {
		where += ": "
	}
	if p.Warning {
		where += "warning: "
	}
	return where
}

// Errors is the number of problems that keep the configuration from being used.
func (r *Report) Errors() int { return r.errors }

// Warnings is the number of the others.
func (r *Report) Warnings() int { return r.warnings }

// Err is nil when the configuration can be used, else an [*InvalidError].
func (r *Report) Err() error {
	if r.errors == 0 {
		return nil
	}
	return &InvalidError{Report: r}
}

// Lines has each problem in one line.
func (r *Report) Lines() []string {
	lines := make([]string, 0, len(r.Problems)+1)
	for i := range r.Problems {
		lines = append(lines, r.Problems[i].String())
	}
	if more := r.more(); more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return lines
}

// String has each problem with its source line and a caret below.
func (r *Report) String() string {
	var b strings.Builder
	for i := range r.Problems {
		r.Problems[i].render(&b)
	}
	if more := r.more(); more > 0 {
		fmt.Fprintf(&b, "and %d more\n", more)
	}
	return b.String()
}

func (r *Report) more() int { return r.errors + r.warnings - len(r.Problems) }

// InvalidError says that a configuration can't be used.
type InvalidError struct{ Report *Report }

// Error is the first error in one line, and how many more there are.
func (e *InvalidError) Error() string {
	i := slices.IndexFunc(e.Report.Problems, func(p Problem) bool { return !p.Warning })
	if i < 0 {
		return fmt.Sprintf("%d errors", e.Report.errors)
	}
	first := e.Report.Problems[i].String()
	if more := e.Report.errors - 1; more > 0 {
		return fmt.Sprintf("%s (and %d more)", first, more)
	}
	return first
}

// addFault adds what the rules' compiler says is wrong, or doubtful.
func (r *Report) addFault(f *descriptors.Fault, warning bool) {
	r.add(&Problem{Pos: f.Pos, Width: f.Width, Warning: warning, Message: f.Message, Hint: f.Hint})
}

// add adds a problem, unless too many are there.
func (r *Report) add(p *Problem) {
	if p.Warning {
		r.warnings++
	} else {
		r.errors++
	}
	if len(r.Problems) < maxProblems {
		if file := r.files[p.Pos.File]; p.Pos.Line > 0 && file != nil {
			p.Source = file.Line(p.Pos.Line)
		}
		r.Problems = append(r.Problems, *p)
	}
}

// has notes a file that problems have their places in.
func (r *Report) has(name string, file *yamltree.File) {
	if r.files == nil {
		r.files = map[string]*yamltree.File{}
	}
	r.files[name] = file
}

// sort puts the problems into the order of the files.
func (r *Report) sort() {
	slices.SortStableFunc(r.Problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Pos.File, b.Pos.File), cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Column, b.Pos.Column))
	})
}

// The window of a long line that is shown around the caret, in characters.
const (
	shownBefore = 60
	shownWidth  = 120
)

// render writes the problem, its source line and the caret.
func (p *Problem) render(b *strings.Builder) {
	if p.Pos.Line == 0 || p.Source == "" {
		b.WriteString(p.String() + "\n")
		return
	}
	b.WriteString(p.where() + p.Message + "\n")
	line, column := []rune(shown(p.Source)), p.Pos.Column-1
	left, right := "", ""
	if column > shownBefore && len(line) > shownWidth {
		cut := min(column-shownBefore, len(line))
		line, column, left = line[cut:], column-cut+1, "…"
	}
	if len(line) > shownWidth {
		line, right = line[:shownWidth], "…"
	}
	number := fmt.Sprintf("%5d", p.Pos.Line)
	text := left + string(line) + right
	width := max(1, min(p.Width, utf8.RuneCountInString(text)-column))
	fmt.Fprintf(b, "%s | %s\n", number, text)
	fmt.Fprintf(b, "%*s | %s%s", len(number), "", strings.Repeat(" ", column), strings.Repeat("^", width))
	if p.Hint != "" {
		b.WriteString(" " + p.Hint)
	}
	b.WriteString("\n")
}

// shown makes a line safe for a terminal, each character as wide as it was.
func shown(line string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return utf8.RuneError
		}
		return r
	}, line)
}
