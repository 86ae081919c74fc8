package descriptors

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// keyed is what a map view reads.
type keyed interface {
	at(key string) ref.Val // nil: no such key
	names() []string       // sorted, or in the order of the request
}

// mapVal is a CEL map that reads the request where it lies.
type mapVal struct {
	keyed
	ev *evaluation
}

var _ traits.Mapper = (*mapVal)(nil)

// Find is the value of a key.
func (m *mapVal) Find(key ref.Val) (ref.Val, bool) {
	k, ok := key.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(key), false
	}
	v := m.at(string(k))
	return v, v != nil
}

// Get is the value of a key, or an error.
func (m *mapVal) Get(key ref.Val) ref.Val {
	v, found := m.Find(key)
	if !found && v == nil {
		return types.NewErr("%s%v", noSuchKey, key)
	}
	return v
}

// Contains reports whether there is a key.
func (m *mapVal) Contains(key ref.Val) ref.Val {
	v, found := m.Find(key)
	if !found && v != nil {
		return v
	}
	return types.Bool(found)
}

// Size is the number of keys.
func (m *mapVal) Size() ref.Val { return types.Int(len(m.names())) }

// Iterator goes over the keys.
func (m *mapVal) Iterator() traits.Iterator {
	return types.NewStringList(types.DefaultTypeAdapter, m.walked()).Iterator()
}

// walked are the keys that an expression may go over. Where there are more, the
// evaluation is over: see celProgram.value.
func (m *mapVal) walked() []string {
	names := m.names()
	if len(names) > mostKeys {
		m.ev.tooMany = true
		return nil
	}
	return names
}

// Equal compares with another map, by key and value.
func (m *mapVal) Equal(other ref.Val) ref.Val { return m.copied().Equal(other) }

// ConvertToNative makes a Go map of it.
func (m *mapVal) ConvertToNative(t reflect.Type) (any, error) { return m.copied().ConvertToNative(t) }

// ConvertToType makes a map or a type of it.
func (m *mapVal) ConvertToType(t ref.Type) ref.Val { return m.copied().ConvertToType(t) }

// Type is that of maps.
func (m *mapVal) Type() ref.Type { return types.MapType }

// Value is the map itself: the fields of a variable are read from it.
func (m *mapVal) Value() any { return m }

func (m *mapVal) copied() traits.Mapper {
	all := map[ref.Val]ref.Val{}
	for _, name := range m.walked() {
		if v := m.at(name); v != nil {
			all[types.String(name)] = v
		}
	}
	return types.NewRefValMap(types.DefaultTypeAdapter, all)
}

// texts is a map of texts of the request.
type texts struct {
	ev   *evaluation
	kind *mapKind
}

func (t texts) at(key string) ref.Val {
	s := t.kind.get(t.ev, key)
	if s == "" {
		return nil
	}
	return types.String(capped(s))
}

func (t texts) names() []string { return t.kind.keys(t.ev) }

// object is a map of values of any kind, from metadata.
type object struct {
	Values
	ev *evaluation
}

func objectOf(ev *evaluation, v Values) *mapVal { return &mapVal{object{v, ev}, ev} }

func (o object) at(key string) ref.Val {
	if o.Values == nil {
		return nil
	}
	v, ok := o.Get(key)
	if !ok || v == "" {
		return nil
	}
	return valueOf(o.ev, v)
}

func (o object) names() []string {
	if o.Values == nil {
		return nil
	}
	names := slices.DeleteFunc(o.Names(), func(name string) bool {
		v, ok := o.Get(name)
		return !ok || v == ""
	})
	slices.Sort(names)
	return names
}

// valueOf is a value of metadata as CEL has it.
func valueOf(ev *evaluation, v any) ref.Val {
	switch v := v.(type) {
	case nil:
		return types.NullValue
	case bool:
		return types.Bool(v)
	case float64:
		return types.Double(v)
	case string:
		return types.String(capped(v))
	case Values:
		return objectOf(ev, v)
	case List:
		return listOf(ev, v.Len(), func(i int) ref.Val { return valueOf(ev, v.At(i)) })
	}
	return types.NewErr("metadata holds a %T", v)
}

// listOf is a list of n values; one that is too long to go over ends the
// evaluation.
func listOf(ev *evaluation, n int, at func(i int) ref.Val) ref.Val {
	if n > mostValues {
		ev.tooMany = true
		n = 0
	}
	all := make([]ref.Val, n)
	for i := range all {
		all[i] = at(i)
	}
	return types.NewRefValList(types.DefaultTypeAdapter, all)
}

// entryVal is an element of entries.
type entryVal struct{ *Entry }

// Equal compares key and value.
func (e entryVal) Equal(other ref.Val) ref.Val {
	o, ok := other.(entryVal)
	return types.Bool(ok && *e.Entry == *o.Entry)
}

// Type is Entry.
func (e entryVal) Type() ref.Type { return entryType }

// Value is what the fields are read from.
func (e entryVal) Value() any { return e.Entry }

// ConvertToType makes a type of it, and nothing else.
func (e entryVal) ConvertToType(t ref.Type) ref.Val {
	switch t {
	case entryType:
		return e
	case types.TypeType:
		return entryType
	}
	return types.NewErr("type conversion error from 'Entry' to '%s'", t)
}

var errNoNative = errors.New("an entry has no other form")

// ConvertToNative refuses: nothing makes messages of entries.
func (e entryVal) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("%w: %s", errNoNative, t)
}
