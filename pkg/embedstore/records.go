package embedstore

import (
	"maps"
	"slices"
	"strings"
	"sync"
)

// reader reads records: values under keys, in the order of the keys' bytes.
// What it returns is not to be changed, and not to be used after the view or
// update that it belongs to.
type reader interface {
	// get is the value of a key, nil where there is none.
	get(key string) ([]byte, error)
	// scan calls f for each key with a prefix that comes after another key,
	// empty for all, until f returns false. Down goes from the last to the
	// first, and "after" is then what comes before.
	scan(prefix, after string, down bool, f func(key string, value []byte) (more bool, err error)) error
}

// writer changes records; what it writes it reads, but does not scan.
type writer interface {
	reader
	put(key string, value []byte)
	remove(key string)
}

// records keeps the configuration, the registry and the audit.
type records interface {
	view(f func(reader) error) error
	// update makes all changes of f, or, where f or the keeping of them fails,
	// none. One update is made at a time.
	update(f func(writer) error) error
	close() error
}

// memory is records that end with the process.
type memory struct {
	mu     sync.RWMutex
	keys   []string // sorted
	values map[string][]byte
}

var _ records = (*memory)(nil)

func newMemory() *memory { return &memory{values: map[string][]byte{}} }

func (m *memory) close() error { return nil }

func (m *memory) view(f func(reader) error) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return f((*memoryView)(m))
}

func (m *memory) update(f func(writer) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := update{reader: (*memoryView)(m), changed: map[string][]byte{}}
	if err := f(&u); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(u.changed)) {
		value := u.changed[key]
		i, found := slices.BinarySearch(m.keys, key)
		switch {
		case value == nil && found:
			m.keys = slices.Delete(m.keys, i, i+1)
			delete(m.values, key)
		case value != nil:
			if !found {
				m.keys = slices.Insert(m.keys, i, key)
			}
			m.values[key] = value
		}
	}
	return nil
}

// memoryView reads a memory whose lock is held.
type memoryView memory

func (v *memoryView) get(key string) ([]byte, error) { return v.values[key], nil }

func (v *memoryView) scan(prefix, after string, down bool, f func(string, []byte) (bool, error)) error {
	i, step := v.start(prefix, after, down)
	for ; i >= 0 && i < len(v.keys) && strings.HasPrefix(v.keys[i], prefix); i += step {
		if more, err := f(v.keys[i], v.values[v.keys[i]]); !more || err != nil {
			return err
		}
	}
	return nil
}

// start is the index of the first key of a scan, and the way to the next.
func (v *memoryView) start(prefix, after string, down bool) (i, step int) {
	if down {
		end := after
		if end == "" {
			end = prefix + "\xff" // no key goes on with this byte
		}
		i, _ = slices.BinarySearch(v.keys, end)
		return i - 1, -1
	}
	i, found := slices.BinarySearch(v.keys, max(prefix, after))
	if found && after == v.keys[i] {
		i++
	}
	return i, 1
}

// update holds what an update changes until it is sure; nil is a removal.
type update struct {
	reader
	changed map[string][]byte
}

func (u *update) get(key string) ([]byte, error) {
	if value, ok := u.changed[key]; ok {
		return value, nil
	}
	return u.reader.get(key)
}

func (u *update) put(key string, value []byte) { u.changed[key] = value }
func (u *update) remove(key string)            { u.changed[key] = nil }
