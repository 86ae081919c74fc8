package ratelimit

import (
	"errors"
	"fmt"
)

// InvalidLimitError says what is wrong with a limit.
type InvalidLimitError struct {
	Text   string // what was parsed, empty when the limit came as a value
	Limit  Limit
	Reason string
}

func (e *InvalidLimitError) Error() string {
	if e.Text != "" {
		return fmt.Sprintf("limit %q: %s", e.Text, e.Reason)
	}
	return fmt.Sprintf("limit %q: %s", e.Limit.Name, e.Reason)
}

// InvalidKeyError says which part can't be part of a bucket's key, and why.
type InvalidKeyError struct {
	Part   string // namespace, entity or resource
	Value  string
	Reason string
}

func (e *InvalidKeyError) Error() string {
	if e.Value == "" {
		return "the " + e.Part + " " + e.Reason
	}
	return fmt.Sprintf("the %s %q %s", e.Part, e.Value, e.Reason)
}

var (
	// ErrUnavailable is matched by every error that means: the store gave no
	// answer in time, and nothing was decided.
	ErrUnavailable = errors.New("the store is unavailable")

	// ErrUnknownNamespace is matched by errors of a store or a resolver about a
	// namespace that is not registered. That is no outage: no fallback answers.
	ErrUnknownNamespace = errors.New("the namespace is not registered")

	// ErrUnsatisfiable is matched by an [*ExceededError] for a charge that no
	// waiting will let through: it is larger than the bucket.
	ErrUnsatisfiable = errors.New("the charge is larger than the bucket")

	// ErrNotApplied is matched by a store's errors after which the write was
	// certainly not applied, and may be sent again.
	ErrNotApplied = errors.New("the write was not applied")

	// ErrUnusable is matched, beside ErrNotApplied, by a store's errors that
	// trying again does not help: a person must mend the store or its settings.
	ErrUnusable = errors.New("the store can't be used as it is")

	// ErrThrottled is matched, beside ErrNotApplied, by a store's errors after
	// which writes to that bucket should become fewer.
	ErrThrottled = errors.New("the store throttles writes")
)
