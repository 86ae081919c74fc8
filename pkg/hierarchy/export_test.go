package hierarchy

// Those of this package's tests that its tests from outside use too.
var (
	TestDocument = document
	TestKey      = key
	TestBrief    = brief
)
