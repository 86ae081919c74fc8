package hierarchy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

var (
	// ErrUnknownNamespace is matched by errors about a namespace that is not
	// registered, or not any more. It is that of pkg/ratelimit.
	ErrUnknownNamespace = ratelimit.ErrUnknownNamespace

	// ErrGap is matched when not all changes after a mark can be told.
	ErrGap = errors.New("the records of the changes are not all there")

	// ErrNamespaceActive is matched when a namespace is to be purged that was
	// not deleted before.
	ErrNamespaceActive = errors.New("the namespace is active: delete it first")

	// ErrPurged is matched when a namespace is to be recovered whose purge has
	// begun.
	ErrPurged = errors.New("the namespace's purge has begun: there is no way back")
)

// ConflictError says that an edit was made in view of an item that somebody
// has changed meanwhile. Nothing was written.
type ConflictError struct {
	Ref      Ref
	Expected int64 // the revision that the edit expected
	Found    Item  // the item as it is
}

func (e *ConflictError) Error() string {
	switch {
	case e.Found.Revision == 0:
		return fmt.Sprintf("%s was never written, and was expected at revision %d", e.Ref, e.Expected)
	case e.Expected == 0 && !e.Found.Deleted:
		return fmt.Sprintf("%s exists already, as of revision %d", e.Ref, e.Found.Revision)
	}
	return fmt.Sprintf("%s was changed meanwhile: it is at revision %d, and was expected at %d", e.Ref, e.Found.Revision, e.Expected)
}

// InvalidItemError says what is wrong with an item that was to be written.
type InvalidItemError struct {
	Ref    Ref
	Faults []string // each a phrase
}

func (e *InvalidItemError) Error() string {
	return fmt.Sprintf("%s: %s", e.Ref, strings.Join(e.Faults, "; "))
}

// InvalidEditError says what is wrong with an edit as a whole.
type InvalidEditError struct{ Reason string }

func (e *InvalidEditError) Error() string { return "the edit " + e.Reason }

// NameTakenError says that a name leads to another namespace.
type NameTakenError struct {
	Name string
	ID   string // of the namespace that the name leads to
}

func (e *NameTakenError) Error() string {
	return fmt.Sprintf("the name %q leads to another namespace, %s: delete that one first", e.Name, e.ID)
}
