package dropin

import "github.com/extauthz/extauthz/pkg/descriptors"

// File is one file of the configuration, as it was written. A text that is
// absent stands where what it belongs to does.
type File struct {
	Domain      descriptors.Text
	Descriptors []Descriptor
}

// Descriptor is one node of the tree: each field is the key of the same name.
type Descriptor struct {
	At          descriptors.Text // where it begins
	Key, Value  descriptors.Text
	RateLimit   *RateLimit // nil: none
	Descriptors []Descriptor
	Metadata    map[string]any // as of JSON; nil: none

	ShadowMode, QuotaMode, ShareThreshold Flag
	DetailedMetric, ValueToMetric         Flag
}

// RateLimit is the limit of a node.
type RateLimit struct {
	At              descriptors.Text // where it begins
	Unit            descriptors.Text
	RequestsPerUnit Number
	Unlimited       Flag
	Name            descriptors.Text
	Replaces        []descriptors.Text // the names; one that is absent is empty
}

// Flag is a boolean and where it stands.
type Flag struct {
	On bool
	At descriptors.Text
}

// Number is what requests_per_unit says, and where.
type Number struct {
	N    uint32
	Said bool
	At   descriptors.Text
}
