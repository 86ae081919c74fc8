package config

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Flags adds the flags of serve. Their values are empty until somebody sets
// them: [Load] takes what they say before what the environment and the file do.
func Flags(fs *pflag.FlagSet) {
	fs.StringP("config", "c", "", "configuration `file`")
	for _, s := range settings() {
		switch {
		case s.flag == "namespace":
			fs.StringP(s.flag, "n", "", usage(&s))
		case s.flag != "":
			fs.String(s.flag, "", usage(&s))
		}
	}
	fs.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "name" { // what the stack is called elsewhere
			name = "stack"
		}
		return pflag.NormalizedName(name)
	})
}

func usage(s *setting) string {
	said := "also " + strings.Join(s.env(), " or ")
	if s.def == "" {
		return s.usage + " (" + said + ")"
	}
	return s.usage + " (default " + s.def + "; " + said + ")"
}

// misspelt warns of variables that nothing reads and that are nearly the name of
// one that something does. Others are somebody else's: Kubernetes makes some
// that begin as ours do, for a service of that name.
func (r *reader) misspelt(environ []string) {
	var known []string
	for _, s := range settings() {
		known = append(known, s.env()...)
	}
	slices.Sort(environ)
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		rest, ours := strings.CutPrefix(name, envPrefix)
		if !ours || slices.Contains(known, name) {
			continue
		}
		for _, k := range known {
			if strings.HasSuffix(k, "_"+rest) || distance(name, k) <= 2 {
				r.report.add(&Problem{Origin: name, Warning: true, Message: "nothing reads this variable", Hint: "did you mean " + k + "?"})
				break
			}
		}
	}
}
