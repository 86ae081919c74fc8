package server

// Error is a fault that somebody can do something about.
type Error struct {
	What string // what is wrong, and where
	Hint string // what to do
	Err  error  // the cause
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.What
	}
	return e.What + ": " + e.Err.Error()
}

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Err }
