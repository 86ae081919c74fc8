package dropin

import (
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Environment is what the other service's variables say, where they say it.
type Environment struct {
	Folder string // of the configuration files

	HTTP, GRPC, Admin string // addresses; empty where nothing is said
	LogLevel          string // one of ours; empty where nothing is said

	Shadow, Quotas, MergeDomains bool
	// Headers are the names under which clients hear of the limit, what remains of
	// it, and until when to wait; empty where they don't.
	Headers []string
}

// Notice is something that a variable says and that somebody should hear of.
type Notice struct {
	Variable      string
	Warning       bool // it can be used all the same
	Message, Hint string
}

// ReadEnvironment reads the variables in a list as os.Environ has it. Those that
// are empty say nothing.
func ReadEnvironment(environ []string) (Environment, []Notice) {
	r := variables{said: map[string]string{}}
	for _, pair := range environ {
		if name, value, _ := strings.Cut(pair, "="); value != "" {
			r.said[name] = value
		}
	}
	e := Environment{
		Folder: filepath.Join(r.text("RUNTIME_ROOT", "/srv/runtime_data/current"), r.text("RUNTIME_SUBDIRECTORY", ""), r.text("RUNTIME_APPDIRECTORY", "config")),
		HTTP:   r.address("HOST", "PORT", "8080"),
		GRPC:   r.address("GRPC_HOST", "GRPC_PORT", "8081"),
		Admin:  r.address("", "DEBUG_PORT", ""),

		LogLevel: r.level(),
		Shadow:   r.flag("SHADOW_MODE"), Quotas: r.flag("QUOTA_MODE"), MergeDomains: r.flag("MERGE_DOMAIN_CONFIG"),
	}
	if path := r.said["GRPC_UDS"]; path != "" {
		e.GRPC = "unix:" + path
	}
	if r.flag("LIMIT_RESPONSE_HEADERS_ENABLED") {
		e.Headers = []string{r.header("LIMIT_LIMIT_HEADER", "Limit"), r.header("LIMIT_REMAINING_HEADER", "Remaining"), r.header("LIMIT_RESET_HEADER", "Reset")}
	}
	r.notHere()
	return e, r.notices
}

// variables are being read.
type variables struct {
	said    map[string]string
	notices []Notice
}

func (r *variables) text(name, byDefault string) string {
	if v := r.said[name]; v != "" {
		return v
	}
	return byDefault
}

func (r *variables) wrong(name, message, hint string) {
	r.notices = append(r.notices, Notice{Variable: name, Message: message, Hint: hint})
}

// flag reads a boolean as that service does.
func (r *variables) flag(name string) bool {
	v := r.said[name]
	if v == "" {
		return false
	}
	on, err := strconv.ParseBool(v)
	if err != nil {
		r.wrong(name, fmt.Sprintf("%q is not true or false", v), "")
	}
	return on
}

// address joins a host and a port; empty where neither is said. Without a host
// variable the host is this machine alone.
func (r *variables) address(host, port, byDefault string) string {
	h, p := r.said[host], r.said[port]
	if h == "" && p == "" {
		return ""
	}
	if n, err := strconv.ParseUint(r.text(port, byDefault), 10, 16); err != nil || n == 0 {
		r.wrong(port, fmt.Sprintf("%q is not a port", p), "")
		return ""
	}
	if host == "" {
		h = "127.0.0.1"
	}
	return net.JoinHostPort(h, r.text(port, byDefault))
}

// level reads a level of what is logged, of which that service has more.
func (r *variables) level() string {
	v := strings.ToLower(r.said["LOG_LEVEL"])
	switch v {
	case "":
		return ""
	case "trace", "debug":
		return "debug"
	case "info":
		return "info"
	case "warn", "warning":
		return "warn"
	case "error", "fatal", "panic":
		return "error"
	}
	r.wrong("LOG_LEVEL", fmt.Sprintf("%q is not a level", v), "debug, info, warn or error")
	return ""
}

// header reads the name of a header.
func (r *variables) header(name, ending string) string {
	v := r.text(name, "RateLimit-"+ending)
	if strings.ContainsFunc(v, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c) }) {
		r.wrong(name, fmt.Sprintf("%q is no name of a header", v), "")
	}
	return v
}

// notHere warns of the variables that nothing reads, and says what does what they
// did.
func (r *variables) notHere() {
	for _, name := range slices.Sorted(maps.Keys(r.said)) {
		for _, group := range elsewhere {
			if slices.Contains(group.names, name) || group.prefix != "" && strings.HasPrefix(name, group.prefix) {
				r.notices = append(r.notices, Notice{Variable: name, Warning: true, Message: "nothing reads this variable here", Hint: group.hint})
			}
		}
	}
}
