package hierarchy

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
)

// updateTries is how often an update is made anew because somebody else has
// changed an item in between.
const updateTries = 8

// Update makes one change that depends on how items are: it reads those of
// refs, hands them to change in their order, and writes the ones that change
// has altered, in one edit. An item that doesn't exist comes with Deleted set:
// change clears it to make the item, and sets it to delete one. Slices and maps
// are replaced, never altered. What an item to be deleted says doesn't matter.
//
// Where an item was changed meanwhile it reads again and calls change again, a
// few times; then the error is a [*ConflictError]. An error of change ends it,
// as it is. Where nothing is altered, nothing is written.
//
// It returns the items as they are afterwards.
func Update(ctx context.Context, ed Editor, namespace string, c Cause, action string, refs []Ref, change func([]Item) error) ([]Item, error) {
	for try := 1; ; try++ {
		items, err := update(ctx, ed, namespace, c, action, refs, change)
		var conflict *ConflictError
		if err == nil || !errors.As(err, &conflict) || try == updateTries {
			return items, err
		}
	}
}

func update(ctx context.Context, ed Editor, namespace string, c Cause, action string, refs []Ref, change func([]Item) error) ([]Item, error) {
	before, err := ed.Items(ctx, namespace, refs)
	if err != nil {
		return nil, fmt.Errorf("reading what is to be changed: %w", err)
	}
	after := make([]Item, len(before))
	for i := range before {
		after[i] = before[i]
		after[i].Deleted = !before[i].Exists()
	}
	if err := change(after); err != nil {
		return nil, err
	}
	e := Edit{Cause: c, Action: action}
	var written []int
	for i := range after {
		if after[i].Deleted {
			after[i].Level, after[i].Profile, after[i].Manager = Level{}, Profile{}, ""
		}
		if sameWord(&before[i], &after[i]) {
			continue
		}
		e.Puts = append(e.Puts, Put{Item: after[i], Expect: before[i].Revision})
		written = append(written, i)
	}
	if len(e.Puts) == 0 {
		return after, nil
	}
	revision, err := ed.Edit(ctx, namespace, e)
	if err != nil {
		return nil, err
	}
	for _, i := range written {
		after[i].Revision, after[i].UpdatedAt = revision, Kept(c.At)
	}
	return after, nil
}

// sameWord reports whether two states of an item say the same.
func sameWord(a, b *Item) bool {
	if !a.Exists() || b.Deleted {
		return !a.Exists() && b.Deleted
	}
	return a.Manager == b.Manager && sameLevel(&a.Level, &b.Level) && sameProfile(&a.Profile, &b.Profile)
}

// sameLevel ignores the difference between no limits and an empty list of them.
func sameLevel(a, b *Level) bool {
	return a.Mode == b.Mode && a.OnUnavailable == b.OnUnavailable && slices.Equal(a.Limits, b.Limits)
}

func sameProfile(a, b *Profile) bool {
	x, y := *a, *b
	if len(x.Metadata) == 0 && len(y.Metadata) == 0 {
		x.Metadata, y.Metadata = nil, nil
	}
	return reflect.DeepEqual(x, y)
}

// All lists all items that are selected, a page at a time; f returns an error to
// end it.
func All(ctx context.Context, ed Editor, namespace string, s Selector, f func([]Item) error) error {
	for page := (Page{Limit: MaxPage}); ; {
		l, err := ed.List(ctx, namespace, s, page)
		if err != nil {
			return err
		}
		if err := f(l.Items); err != nil || l.Next == "" {
			return err
		}
		page.After = l.Next
	}
}
