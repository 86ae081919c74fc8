package config

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/extauthz/extauthz/internal/config/yamltree"
	"github.com/extauthz/extauthz/internal/dropin"
)

// Ratelimit is a configuration of envoyproxy/ratelimit that is served in place of
// rules. The zero value is none.
type Ratelimit struct {
	Folder string // of its files
	Sum    string // the beginning of the SHA-256 of its files, in hex; see SumFolder
}

// ratelimitAuto has the folder be where that service's variables say.
const ratelimitAuto = "auto"

// LoadRatelimit reads a folder of envoyproxy/ratelimit's files and checks all of
// it. The Report is never nil; where it has errors there are no rules.
func LoadRatelimit(folder string, opts dropin.Options) (*dropin.Rules, *Report) {
	report := &Report{}
	rules, _ := loadRatelimit(report, folder, opts)
	report.sort()
	return rules, report
}

// ReadRatelimit is [LoadRatelimit] for who wants the files as they were written.
func ReadRatelimit(folder string, opts dropin.Options) ([]dropin.File, *Report) {
	report := &Report{}
	files, _ := readRatelimits(report, folder)
	compileRatelimit(report, files, opts)
	report.sort()
	return files, report
}

// loadRatelimit is LoadRatelimit into a report that may have other problems.
func loadRatelimit(report *Report, folder string, opts dropin.Options) (*dropin.Rules, Ratelimit) {
	files, sum := readRatelimits(report, folder)
	return compileRatelimit(report, files, opts), Ratelimit{Folder: folder, Sum: sum}
}

// readRatelimits reads the files of a folder, and makes their sum.
func readRatelimits(report *Report, folder string) (files []dropin.File, sum string) {
	texts, err := readFolder(folder)
	if err != nil {
		report.add(&Problem{Origin: folder, Message: err.Error(), Hint: "it is a folder of envoyproxy/ratelimit's files, whose names end in .yaml"})
		return nil, ""
	}
	if len(texts) == 0 {
		report.add(&Problem{Origin: folder, Warning: true, Message: "no file's name ends in .yaml: nothing is limited"})
	}
	for _, f := range texts {
		if r, ok := parseInto(report, f.path, f.text, yamltree.ParseAliases); ok && len(r.file.Faults) == 0 {
			if file, ok := readRatelimit(r); ok {
				files = append(files, file)
			}
		}
	}
	return files, sumOf(texts)
}

// compileRatelimit compiles what was read; nil where anything is wrong with it.
func compileRatelimit(report *Report, files []dropin.File, opts dropin.Options) *dropin.Rules {
	rules, faults, warnings := dropin.Compile(files, opts)
	for _, f := range faults {
		report.addFault(f, false)
	}
	if report.errors > 0 { // warnings may follow from an error
		return nil
	}
	for _, f := range warnings {
		report.addFault(f, true)
	}
	return rules
}

// folderFile is a file of a folder.
type folderFile struct {
	path string
	text []byte
}

// readFolder reads the files of a folder whose names end in .yaml or .yml and
// don't begin with a dot, in the order of their names. Folders in it aren't read.
func readFolder(folder string) ([]folderFile, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, reason(err)
	}
	var files []folderFile
	for _, e := range entries {
		path := filepath.Join(folder, e.Name())
		if ext := filepath.Ext(path); strings.HasPrefix(e.Name(), ".") || ext != ".yaml" && ext != ".yml" {
			continue
		}
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			continue
		}
		text, err := read(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		files = append(files, folderFile{path, text})
	}
	return files, nil // ReadDir has them in order
}

// sumOf is the beginning of a hash of files, in hex.
func sumOf(files []folderFile) string {
	hash := sha256.New()
	for _, f := range files {
		head := fmt.Sprintf("%q %d\n", filepath.Base(f.path), len(f.text))
		hash.Write(append([]byte(head), f.text...)) // it never fails
	}
	return hex.EncodeToString(hash.Sum(nil)[:6])
}

// SumFolder is the Sum that a [Ratelimit] of a folder has as its files are now.
func SumFolder(folder string) (string, error) {
	files, err := readFolder(folder)
	if err != nil {
		return "", err
	}
	return sumOf(files), nil
}

// keyRatelimit is the setting of the folder, which the file doesn't have.
const keyRatelimit = "ratelimit_config"

// ratelimitSetting says where the files of envoyproxy/ratelimit are.
func ratelimitSetting() setting {
	return setting{
		key: keyRatelimit, flag: "ratelimit-config",
		usage: "serve envoyproxy/ratelimit's configuration from this `folder`, in place of rules; auto is where RUNTIME_ROOT and its like say",
		set: func(c *checked, v string) (string, string) {
			c.Ratelimit.Folder = v
			return "", ""
		},
	}
}

// adopt has the variables of envoyproxy/ratelimit say what nothing of ours does,
// where its configuration is served.
func (l *layers) adopt() dropin.Environment {
	folder := l.viper.GetString(keyRatelimit)
	if folder == "" {
		return dropin.Environment{}
	}
	env, notices := dropin.ReadEnvironment(os.Environ())
	for _, n := range notices {
		l.reader.report.add(&Problem{Origin: n.Variable, Warning: n.Warning, Message: n.Message, Hint: n.Hint})
	}
	if folder != ratelimitAuto {
		env.Folder = folder
	}
	l.viper.Set(keyRatelimit, env.Folder)
	for key, value := range map[string]string{
		keyHTTP: cmp.Or(env.HTTP, ":8080"), "listen.grpc": env.GRPC, "listen.admin": env.Admin, "log.level": env.LogLevel,
	} {
		if value != "" {
			l.viper.SetDefault(key, value)
		}
	}
	if len(env.Headers) > 0 {
		l.viper.SetDefault(keyHeaders, strings.Join(ResponseHeaders(), ","))
	}
	return env
}

// adopted puts what the folder has, and the variables say, into a configuration.
func (r *reader) adopted(c *Config, env *dropin.Environment, written *rules) {
	if len(written.sources) > 0 {
		r.report.add(&Problem{Pos: written.sources[0].Name.At(0), Width: 1, Message: "with --ratelimit-config, the rules are those of its folder", Hint: "leave the rules out, or the flag"})
	}
	c.Shadow = env.Shadow
	if len(env.Headers) > 0 {
		c.HeaderNames = map[string]string{}
		for i, known := range ResponseHeaders()[3:] {
			c.HeaderNames[known] = env.Headers[i]
		}
	}
	opts := dropin.Options{Namespace: c.Namespace, MergeDomains: env.MergeDomains, Quotas: env.Quotas}
	if compiled, from := loadRatelimit(r.report, c.Ratelimit.Folder, opts); compiled != nil {
		c.Rules, c.Ratelimit = compiled, from
	}
}
