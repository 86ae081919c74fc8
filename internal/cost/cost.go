// Package cost says what a stack costs in a month, line by line, from what it is
// asked to do.
//
// It is arithmetic on prices and on what operations take, which other tests
// measure: a write unit for each charge and 1.0 to 1.4 of them for each request
// that is admitted (docs/charge.md), a poll for each quarter of a second of a
// bucket that is exhausted, a write of the aggregator for each busy bucket in
// each batch (docs/operations.md). It asks nobody, and leaves out what is some
// cents: logs, the archive of the audit, the first look at each entity.
//
// The package imports the standard library alone. Start reading at [Of].
package cost

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Prices are in dollars.
type Prices struct {
	Region string
	// Of is since when they hold, and From where they are known from.
	Of, From string

	WriteUnits float64 // a million, on demand
	ReadUnits  float64 // a million, on demand
	Storage    float64 // a gigabyte and month
	Recovery   float64 // point-in-time, a gigabyte and month
	Calls      float64 // a million, of a function
	Compute    float64 // a million gigabyte-seconds of a function, arm64
	Alarm      float64 // one, a month
}

// USEast1 are the prices of us-east-1.
func USEast1() Prices {
	return Prices{
		Region: "us-east-1", Of: "2024-11-01", From: "the price cuts of DynamoDB of that day, as reported; the others as then listed",
		WriteUnits: 0.625, ReadUnits: 0.125, Storage: 0.25, Recovery: 0.20,
		Calls: 0.20, Compute: 13.3334, Alarm: 0.10,
	}
}

// Load is what a stack is asked to do, all day, all month.
type Load struct {
	Requests float64 // a second, on the average of the month
	// Keys is how many buckets are charged at a time.
	Keys int
	// Overload is how much is asked for in place of what the limits admit: 2 is
	// twice as much; 1 and below: all is admitted.
	Overload  float64
	Processes int // of the service
	// Buckets is how many a request charges: with a parent, 2.
	Buckets int

	// Aggregator says that usage is counted, in batches of such a window, and
	// kept so long.
	Aggregator bool
	Window     time.Duration
	Keep       time.Duration
}

// What things take.
const (
	month = 730 * 3600 // seconds

	floor    = 0.25 // seconds, in which an exhausted bucket is polled once by a process at most
	pollEach = 5    // seconds, of the configuration and of the table's version

	bucketBytes = 700    // of its item, with 4 limits
	usageBytes  = 300    // of a bucket and hour
	fullBatch   = 3000   // charges; then a batch is handed on before its window ends
	memory      = 0.125  // gigabytes, of the function
	batchTime   = 0.1    // seconds that a batch takes
	bucketTime  = 0.0005 // and for each bucket in it
	alarms      = 7      // of the template

	million  = 1e6
	gigabyte = 1e9
)

// Line is one of a bill.
type Line struct {
	What     string  `json:"what"`
	Quantity float64 `json:"quantity"`
	Unit     string  `json:"unit"`
	Price    float64 `json:"price"` // of one unit
	Dollars  float64 `json:"dollars"`
}

// Bill is what a month of 730 hours costs.
type Bill struct {
	Region     string  `json:"region"`
	PricesOf   string  `json:"prices_of"`
	PricesFrom string  `json:"prices_from"`
	Lines      []Line  `json:"lines"`
	Dollars    float64 `json:"dollars"`
	// PerMillion is what a million requests cost, refused ones too.
	PerMillion float64 `json:"dollars_per_million_requests"`
}

// ErrLoad is a load that can't be.
var ErrLoad = errors.New("the load can't be")

// Of is the bill of a load. The error matches [ErrLoad].
func Of(l *Load, p *Prices) (*Bill, error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	b := &Bill{Region: p.Region, PricesOf: p.Of, PricesFrom: p.From}
	admitted := l.Requests / max(l.Overload, 1)
	charges := admitted * float64(l.Buckets) * writesPerCharge(l.Processes)
	// A rejection that isn't answered from memory costs as much as a charge.
	polls := min(l.Requests-admitted, float64(l.Keys*l.Processes)/floor)

	b.add("charges", charges*month/million, "million write units", p.WriteUnits)
	b.add("rejections that ask the store", polls*month/million, "million write units", p.WriteUnits)
	b.add("polls of limits and versions", 2*float64(l.Processes)/pollEach*month/million, "million read units", p.ReadUnits)
	stored := float64(l.Keys) * bucketBytes / gigabyte
	if l.Aggregator {
		stored += b.usage(l, p, admitted*float64(l.Buckets), charges)
	}
	b.add("items", stored, "GB", p.Storage)
	b.add("recovery", stored, "GB", p.Recovery)
	b.add("alarms", alarms, "alarms", p.Alarm)
	if l.Requests > 0 {
		b.PerMillion = b.Dollars / (l.Requests * month / million)
	}
	return b, nil
}

// usage adds what the aggregator does for what is admitted in a second, by so
// many writes, and returns how many gigabytes are kept.
func (b *Bill) usage(l *Load, p *Prices, admitted, writes float64) float64 {
	window := min(l.Window.Seconds(), fullBatch/max(writes, 1))
	batches := month / window
	each := admitted / float64(l.Keys) // bucket, a second
	// By chance a bucket is charged in a window or not.
	busy := func(seconds float64) float64 { return float64(l.Keys) * (1 - math.Exp(-each*seconds)) }
	written := busy(window) * batches
	hours := busy(3600) * month / 3600
	b.add("usage: hours written", written/million, "million write units", p.WriteUnits)
	b.add("usage: hours begun", hours/million, "million write units", p.WriteUnits)
	b.add("usage: read", (written+hours)/million, "million read units", p.ReadUnits)
	b.add("usage: calls of the function", batches/million, "million calls", p.Calls)
	b.add("usage: time of the function", (batches*batchTime+written*bucketTime)*memory/million, "million GB-seconds", p.Compute)
	return busy(3600) * l.Keep.Hours() * usageBytes / gigabyte
}

func (b *Bill) add(what string, quantity float64, unit string, price float64) {
	l := Line{What: what, Quantity: quantity, Unit: unit, Price: price, Dollars: quantity * price}
	b.Lines = append(b.Lines, l)
	b.Dollars += l.Dollars
}

// writesPerCharge is how many writes a charge takes of buckets at half of what
// their limits admit, where the processes share each: docs/charge.md.
func writesPerCharge(processes int) float64 {
	switch {
	case processes <= 1:
		return 1.00
	case processes == 2:
		return 1.20
	case processes <= 4:
		return 1.34
	default:
		return 1.40
	}
}

func (l *Load) check() error {
	switch {
	case l.Requests < 0 || math.IsInf(l.Requests, 0) || math.IsNaN(l.Requests):
		return fmt.Errorf("%w: %v requests a second", ErrLoad, l.Requests)
	case l.Keys < 1:
		return fmt.Errorf("%w: %d keys", ErrLoad, l.Keys)
	case l.Overload < 0 || math.IsInf(l.Overload, 0) || math.IsNaN(l.Overload):
		return fmt.Errorf("%w: %v times what is admitted", ErrLoad, l.Overload)
	case l.Processes < 1:
		return fmt.Errorf("%w: %d processes", ErrLoad, l.Processes)
	case l.Buckets < 1:
		return fmt.Errorf("%w: %d buckets for each request", ErrLoad, l.Buckets)
	case l.Aggregator && (l.Window < time.Second || l.Keep < time.Hour):
		return fmt.Errorf("%w: batches of %v, kept for %v", ErrLoad, l.Window, l.Keep)
	}
	return nil
}
