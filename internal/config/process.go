package config

import (
	"os"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"github.com/extauthz/extauthz/internal/config/yamltree"
	"github.com/extauthz/extauthz/internal/tlsfiles"
	"github.com/extauthz/extauthz/pkg/descriptors"
)

// process are the scalars of the process that the file gives.
type process map[string]*yamltree.Node // :: setting's key -> its value

// field makes a field of the file of a setting.
func (p process) field(r *reader, name, key string) field {
	return field{name, func(k, value *yamltree.Node) {
		if _, ok := r.scalar(k, value); ok {
			p[key] = value
		}
	}}
}

// sections are the fields of the file that are about the process.
func (p process) sections(r *reader) []field {
	section := func(name string, fields ...field) field {
		return field{name, func(key, value *yamltree.Node) { r.fields(key, value, name, fields) }}
	}
	listen := []field{
		p.field(r, "grpc", "listen.grpc"), p.field(r, "metrics", "listen.metrics"), p.field(r, "admin", "listen.admin"),
		p.field(r, "http", keyHTTP), p.list(r, "trusted_proxies", keyProxies, checkProxy),
	}
	var store []field
	for _, name := range []string{"type", "path", "stack", "region", "endpoint_url", "create", "max_writes_per_second"} {
		store = append(store, p.field(r, name, "store."+name))
	}
	rejections := section("rejections", p.field(r, "entries", "charge.rejections.entries"), p.field(r, "bytes", "charge.rejections.bytes"))
	return []field{
		section("listen", listen...),
		section("tls", p.field(r, tlsfiles.Cert, keyCert), p.field(r, tlsfiles.Key, keyKey), p.field(r, tlsfiles.ClientCA, keyClientCA)),
		section("store", store...),
		section("charge", p.field(r, "slack", "charge.slack"), rejections),
		p.field(r, "namespace", "namespace"),
		p.field(r, "decision_timeout", "decision_timeout"),
		p.field(r, "on_unavailable", "on_unavailable"),
		p.field(r, "local_share", "local_share"),
		p.field(r, "no_match", "no_match"),
		p.field(r, "client_ip", "client_ip"),
		p.list(r, keyHeaders, keyHeaders, checkHeader),
		p.field(r, "dynamic_metadata", "dynamic_metadata"),
	}
}

// layers are where a setting's value can come from.
type layers struct {
	viper   *viper.Viper
	flags   *pflag.FlagSet // may be nil
	process process
	reader  *reader
}

// layer puts flags over the environment over the file over defaults.
func (r *reader) layer(p process, flags *pflag.FlagSet) (*layers, error) {
	v := viper.New()
	file := map[string]any{}
	for _, s := range settings() {
		v.SetDefault(s.key, s.def)
		if err := v.BindEnv(append([]string{s.key}, s.env()...)...); err != nil {
			return nil, err
		}
		if f := lookup(flags, s.flag); f != nil {
			if err := v.BindPFlag(s.key, f); err != nil {
				return nil, err
			}
		}
		if n := p[s.key]; n != nil {
			put(file, s.key, n.Value)
		}
	}
	if err := v.MergeConfigMap(file); err != nil {
		return nil, err
	}
	return &layers{viper: v, flags: flags, process: p, reader: r}, nil
}

// put sets a value in mappings in each other.
func put(into map[string]any, key, value string) {
	section, rest, nested := strings.Cut(key, ".")
	if !nested {
		into[key] = value
		return
	}
	inner, ok := into[section].(map[string]any)
	if !ok {
		inner = map[string]any{}
		into[section] = inner
	}
	put(inner, rest, value)
}

func lookup(flags *pflag.FlagSet, name string) *pflag.Flag {
	if flags == nil || name == "" {
		return nil
	}
	return flags.Lookup(name)
}

// origin is where a setting's value was said: a flag or a variable, else a node
// of the file, else nowhere.
func (l *layers) origin(s *setting) (outside string, n *yamltree.Node) {
	if f := lookup(l.flags, s.flag); f != nil && f.Changed {
		return "--" + s.flag, nil
	}
	for _, name := range s.env() {
		if os.Getenv(name) != "" {
			return name, nil
		}
	}
	return "", l.process[s.key]
}

// problem reports something about a setting's value, where it was said.
func (l *layers) problem(s *setting, warning bool, message, hint string) {
	p := &Problem{Warning: warning, Message: message, Hint: hint}
	outside, n := l.origin(s)
	p.Origin = outside
	if n != nil {
		p.Pos, p.Width = l.reader.position(n.At), l.reader.width(n.At, n.End-n.At)
	}
	l.reader.report.add(p)
}

// settle checks every setting and takes it.
func (l *layers) settle(opts Options) *checked {
	c := &checked{}
	all := settings()
	byKey := map[string]*setting{}
	for i := range all {
		byKey[all[i].key] = &all[i]
	}
	store, byOutside := l.chosenStore(byKey)
	for i := range all {
		s := &all[i]
		if l.foreign(s, store, byOutside) {
			continue
		}
		if complaint, hint := s.set(c, l.viper.GetString(s.key)); complaint != "" {
			l.problem(s, false, complaint, hint)
		}
	}
	l.addresses(byKey)
	l.checkHTTP(c, byKey)
	l.checkTLS(c.TLS, byKey, opts.LeaveFiles)
	return c
}

// addresses checks what the addresses are together.
func (l *layers) addresses(settings map[string]*setting) {
	taken := map[string]string{} // :: address -> the key that has it
	for _, key := range []string{"listen.grpc", keyHTTP, "listen.metrics", "listen.admin"} {
		address := l.viper.GetString(key)
		other := taken[address]
		taken[address] = key
		if other == "" || address == "" || strings.HasSuffix(address, ":0") {
			continue
		}
		if outside, n := l.origin(settings[key]); outside == "" && n == nil {
			key, other = other, key // one that was said
		}
		l.problem(settings[key], false, key+" has the address of "+other, "")
	}
	if !isPrivate(l.viper.GetString("listen.admin")) {
		l.problem(settings["listen.admin"], true, "the admin address is not a loopback one", "whoever reaches it can see the configuration and change the log level")
	}
}

// clientIP is the text of client_ip and where it stands.
func (l *layers) clientIP(c *checked) descriptors.Text {
	for _, s := range settings() {
		if outside, n := l.origin(&s); s.key == "client_ip" && outside == "" && n != nil {
			return l.reader.text(n)
		}
	}
	return descriptors.Text{Value: c.clientIP}
}
