package embedstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// FileProblem is why a store's file can't be used as it is.
type FileProblem uint8

// The problems. None of them is ever answered by beginning anew.
const (
	FileUnusable FileProblem = iota // it can't be opened or made
	FileLocked                      // another process holds it
	FileForeign                     // it is another program's
	FileNewer                       // a newer version wrote it
	FileCorrupt                     // it is damaged
)

// FileError is a file that a store can't be opened from. The file is as it was.
type FileError struct {
	Path    string
	Problem FileProblem
	Err     error // what was found, may be nil
}

// Error says what is wrong and what to do about it.
func (e *FileError) Error() string {
	var s string
	switch e.Problem {
	case FileUnusable:
		s = fmt.Sprintf("the store's file %q can't be opened: check store.path, its folder and the rights to both", e.Path)
	case FileLocked:
		s = fmt.Sprintf("the store's file %q is in use by another process: end that one, or give this one a store.path of its own", e.Path)
	case FileForeign:
		s = fmt.Sprintf("the file %q is not a store's: give store.path another name", e.Path)
	case FileNewer:
		s = fmt.Sprintf("the store's file %q was written by a newer version: upgrade this program, or restore a copy from before the upgrade", e.Path)
	case FileCorrupt:
		s = fmt.Sprintf("the store's file %q is damaged: restore a copy of it, or move it away to begin without limits and balances", e.Path)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap is what was found.
func (e *FileError) Unwrap() error { return e.Err }

// The layout of a file: two bolt buckets.
const (
	headerBucket  = "extauthz" // formatKey -> the format's number, in text; digestKey -> digest
	recordsBucket = "records"  // key -> checksum of key and value, value
	formatKey     = "format"
	digestKey     = "digest"
	format        = 1

	checksumLen = 8
	lockTimeout = time.Second // for a process that is just ending
)

// digest is what all records come to: how many there are, and all of their
// checksums taken together, in whatever order. Bolt has no checksums of its
// own; with this no record can be lost, old or changed unseen.
type digest struct {
	count, sum uint64
}

// swap takes one record's place with another's; either may be nil.
func (d *digest) swap(before, after []byte) {
	if before != nil {
		d.count--
		d.sum ^= binary.BigEndian.Uint64(before)
	}
	if after != nil {
		d.count++
		d.sum ^= binary.BigEndian.Uint64(after)
	}
}

func (d digest) text() []byte { return fmt.Appendf(nil, "%d %016x", d.count, d.sum) }

func parseDigest(b []byte) (d digest, err error) {
	_, err = fmt.Sscanf(string(b), "%d %x", &d.count, &d.sum)
	return d, err
}

// file is records that outlive the process, in a bolt file.
type file struct {
	db *bbolt.DB
}

var _ records = (*file)(nil)

// openFile opens a file, or makes it where there is none. The errors are
// [*FileError].
func openFile(path string) (*file, error) {
	switch info, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		if err := makeFile(path); err != nil {
			return nil, &FileError{Path: path, Problem: FileUnusable, Err: err}
		}
	case err != nil:
		return nil, &FileError{Path: path, Problem: FileUnusable, Err: err}
	case !info.Mode().IsRegular():
		return nil, &FileError{Path: path, Problem: FileForeign, Err: errors.New("it is no regular file")}
	case info.Size() == 0: // bolt would begin anew
		return nil, &FileError{Path: path, Problem: FileCorrupt, Err: errors.New("it is empty")}
	}
	return openWhole(path)
}

// openWhole opens a file that is there, and looks at all of it. Where a file is
// damaged, bolt may panic, or look for what lies beyond its end.
func openWhole(path string) (f *file, err error) {
	var db *bbolt.DB
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = &FileError{Path: path, Problem: FileCorrupt, Err: fmt.Errorf("%v", r)}
		}
		if err != nil && db != nil {
			f, err = nil, errors.Join(err, db.Close())
		}
	}()
	if db, err = openBolt(path); err != nil {
		return nil, err
	}
	return &file{db}, check(path, db)
}

// makeFile makes a file with nothing in it but its header. It gets its name once
// it is whole, and never in the place of another.
func makeFile(path string) error {
	temp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) //nolint:errcheck // it has another name by then, or is a left-over
	if err := temp.Close(); err != nil {
		return err
	}
	db, err := bbolt.Open(temp.Name(), 0o600, nil)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		header, err := tx.CreateBucket([]byte(headerBucket))
		if err != nil {
			return err
		}
		if _, err := tx.CreateBucket([]byte(recordsBucket)); err != nil {
			return err
		}
		return errors.Join(header.Put([]byte(formatKey), []byte(strconv.Itoa(format))), header.Put([]byte(digestKey), digest{}.text()))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	err = os.Link(temp.Name(), path)
	if err == nil || errors.Is(err, fs.ErrExist) { // another process was faster
		return nil
	}
	return os.Rename(temp.Name(), path) // where there are no hard links
}

// openBolt opens a bolt file.
func openBolt(path string) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout})
	var problem FileProblem
	switch {
	case err == nil:
		return db, nil
	case errors.Is(err, bolterrors.ErrTimeout):
		problem = FileLocked
	case errors.Is(err, bolterrors.ErrInvalid):
		problem = FileForeign
		if begunByBolt(path) {
			problem = FileCorrupt
		}
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrNotExist):
		problem = FileUnusable
	default:
		problem = FileCorrupt
	}
	return nil, &FileError{Path: path, Problem: problem, Err: err}
}

// begunByBolt reports whether one of a file's first two pages is bolt's.
func begunByBolt(path string) bool {
	f, err := os.Open(path) //nolint:gosec // the operator's own choice
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // it is only read
	begin := make([]byte, 64<<10)
	n, _ := f.Read(begin)
	return bytes.Contains(begin[:n], []byte{0xed, 0xda, 0x0c, 0xed}) // its magic, on any page size
}

// check looks at all of a file: its header, each record, and bolt's own pages.
func check(path string, db *bbolt.DB) error {
	problem := FileCorrupt
	err := db.View(func(tx *bbolt.Tx) error {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if info.Size() < tx.Size() {
			return fmt.Errorf("it has %d bytes, and should have %d", info.Size(), tx.Size())
		}
		if problem, err = checkHeader(tx); err != nil {
			return err
		}
		return errors.Join(checkRecords(tx), checkPages(tx))
	})
	if err != nil {
		return &FileError{Path: path, Problem: problem, Err: err}
	}
	return nil
}

// checkRecords compares what all records come to with what they should.
func checkRecords(tx *bbolt.Tx) error {
	want, err := parseDigest(tx.Bucket([]byte(headerBucket)).Get([]byte(digestKey)))
	if err != nil {
		return fmt.Errorf("its digest can't be read: %w", err)
	}
	var got digest
	err = tx.Bucket([]byte(recordsBucket)).ForEach(func(key, stored []byte) error {
		if _, err := checked(key, stored); err != nil {
			return err
		}
		got.swap(nil, stored)
		return nil
	})
	if err == nil && got != want {
		err = fmt.Errorf("its %d records are not the %d that were written last", got.count, want.count)
	}
	return err
}

// checkPages has bolt look at its pages, those that are free too. A page that
// is said to go on beyond the file would keep it busy for ever.
func checkPages(tx *bbolt.Tx) error {
	pages := int(tx.Size() / int64(tx.DB().Info().PageSize))
	for id := 2; id < pages; id++ {
		page, err := tx.Page(id)
		if err != nil {
			return err
		}
		if page == nil || page.Type == "free" {
			continue
		}
		if id += page.OverflowCount; id >= pages {
			return fmt.Errorf("a page ends beyond the last of %d", pages)
		}
	}
	var fault error
	for err := range tx.Check() {
		fault = errors.Join(fault, err)
	}
	return fault
}

func checkHeader(tx *bbolt.Tx) (FileProblem, error) {
	header := tx.Bucket([]byte(headerBucket))
	if header == nil {
		return FileForeign, errors.New("it has no header")
	}
	n, err := strconv.Atoi(string(header.Get([]byte(formatKey))))
	switch {
	case err != nil:
		return FileCorrupt, fmt.Errorf("its format is no number: %w", err)
	case n > format:
		return FileNewer, fmt.Errorf("it has format %d, and this program knows %d", n, format)
	case tx.Bucket([]byte(recordsBucket)) == nil:
		return FileCorrupt, errors.New("it has no records")
	}
	return FileCorrupt, nil
}

// stored is a record's value with its checksum before it.
func stored(key, value []byte) []byte {
	b := make([]byte, checksumLen, checksumLen+len(value))
	b = append(b, value...)
	binary.BigEndian.PutUint64(b, checksum(key, value))
	return b
}

func checksum(key, value []byte) uint64 {
	d := xxhash.New()
	_, _ = d.Write(key) // it never fails
	_, _ = d.Write(value)
	return d.Sum64()
}

// checked is the value of a record, once its checksum is found right.
func checked(key, stored []byte) ([]byte, error) {
	if len(stored) < checksumLen || binary.BigEndian.Uint64(stored) != checksum(key, stored[checksumLen:]) {
		return nil, fmt.Errorf("the record of %q is not as it was written", key)
	}
	return stored[checksumLen:], nil
}

func (f *file) close() error { return f.db.Close() }

func (f *file) view(do func(reader) error) error {
	return f.db.View(func(tx *bbolt.Tx) error { return do(fileView{tx.Bucket([]byte(recordsBucket))}) })
}

// update makes its changes in one transaction, which is on the disk when it
// returns.
func (f *file) update(do func(writer) error) error {
	return f.db.Update(func(tx *bbolt.Tx) error {
		view := fileView{tx.Bucket([]byte(recordsBucket))}
		u := update{reader: view, changed: map[string][]byte{}}
		if err := do(&u); err != nil {
			return err
		}
		header := tx.Bucket([]byte(headerBucket))
		d, err := parseDigest(header.Get([]byte(digestKey)))
		if err != nil {
			return fmt.Errorf("reading the digest: %w", err)
		}
		for _, key := range slices.Sorted(maps.Keys(u.changed)) {
			if err := view.set([]byte(key), u.changed[key], &d); err != nil {
				return fmt.Errorf("writing the record of %q: %w", key, err)
			}
		}
		return header.Put([]byte(digestKey), d.text())
	})
}

// fileView reads a file within a transaction.
type fileView struct {
	bucket *bbolt.Bucket
}

func (v fileView) get(key string) ([]byte, error) {
	stored := v.bucket.Get([]byte(key))
	if stored == nil {
		return nil, nil
	}
	return checked([]byte(key), stored)
}

// set writes a record, or removes it, and takes the digest along.
func (v fileView) set(key, value []byte, d *digest) error {
	before := v.bucket.Get(key)
	if value == nil {
		d.swap(before, nil)
		return v.bucket.Delete(key)
	}
	after := stored(key, value)
	d.swap(before, after)
	return v.bucket.Put(key, after)
}

func (v fileView) scan(prefix, after string, down bool, f func(string, []byte) (bool, error)) error {
	c := v.bucket.Cursor()
	key, stored := seek(c, prefix, after, down)
	for key != nil && bytes.HasPrefix(key, []byte(prefix)) {
		value, err := checked(key, stored)
		if err != nil {
			return err
		}
		if more, err := f(string(key), value); !more || err != nil {
			return err
		}
		if down {
			key, stored = c.Prev()
		} else {
			key, stored = c.Next()
		}
	}
	return nil
}

// seek is the first record of a scan.
func seek(c *bbolt.Cursor, prefix, after string, down bool) (key, stored []byte) {
	if !down {
		key, stored = c.Seek([]byte(max(prefix, after)))
		if after != "" && string(key) == after {
			return c.Next()
		}
		return key, stored
	}
	end := after
	if end == "" {
		end = prefix + "\xff" // no key goes on with this byte
	}
	if key, _ = c.Seek([]byte(end)); key == nil {
		return c.Last()
	}
	return c.Prev()
}
