package hierarchy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCheck(t *testing.T) {
	doc := Document{
		Tiers: map[string]Tier{"gold": {}, "silver": {}},
		Entities: map[string]Entity{
			"fine":      {Tier: "gold", Parent: "alone", Cascade: true},
			"alone":     {},
			"typo":      {Tier: "glod", Parent: "alnoe"},
			"strange":   {Tier: "platinum", Parent: "nobody at all"},
			"unparent":  {Cascade: true},
			"itself":    {Parent: "itself"},
			"loop.1":    {Parent: "loop.2"},
			"loop.2":    {Parent: "loop.1", Cascade: true},
			"into loop": {Parent: "loop.1"},
		},
	}
	for i := range MaxParents + 2 {
		doc.Entities[fmt.Sprintf("deep%02d", i)] = Entity{Cascade: true, Parent: fmt.Sprintf("deep%02d", i+1)}
	}
	doc.Entities[fmt.Sprintf("deep%02d", MaxParents+2)] = Entity{}
	var got []string
	for _, w := range doc.Check() {
		fatal := ""
		if w.Fatal {
			fatal = "!"
		}
		got = append(got, fatal+w.String())
	}
	want := []string{
		`!entities.deep00.parent: a charge would cascade to more than 8 parents`,
		`!entities.deep01.parent: a charge would cascade to more than 8 parents`,
		`!entities.itself.parent: parents go round in a circle: itself -> itself`,
		`!entities.loop.1.parent: parents go round in a circle: loop.1 -> loop.2 -> loop.1`,
		`!entities.loop.2.parent: parents go round in a circle: loop.2 -> loop.1 -> loop.2`,
		`entities.strange.parent: there is no entity "nobody at all"`,
		`entities.strange.tier: there is no tier "platinum"`,
		`entities.typo.parent: there is no entity "alnoe", did you mean "alone"?`,
		`entities.typo.tier: there is no tier "glod", did you mean "gold"?`,
		`entities.unparent.cascade: there is no parent to charge`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if w := document().Check(); len(w) != 4 || strings.Join(w[2].Keys, "|") != "entities|orphan|parent" {
		t.Errorf("of the other document: %v", w)
	}
}

// A line of parents, and a circle of as many, are checked and made ready for
// look-ups in a time that grows as they do.
func TestLongLines(t *testing.T) {
	const n = 4_000
	line := func(n int, round bool) (took time.Duration, faults int) {
		doc := Document{Entities: make(map[string]Entity, n)}
		for i := range n {
			e := Entity{Parent: fmt.Sprint(i + 1)}
			if i == n-1 && round {
				e.Parent = "0"
			}
			doc.Entities[fmt.Sprint(i)] = e
		}
		start := time.Now()
		faults = len(doc.Check())
		NewResolver("default", doc)
		return time.Since(start), faults
	}
	for _, round := range []bool{false, true} {
		var small, large time.Duration
		linear := false
		for tries := 0; !linear && tries < 5; tries++ { // others may need the machine
			small, _ = line(n, round)
			var faults int
			large, faults = line(8*n, round)
			linear = large <= 30*small+100*time.Millisecond
			want := 1 // the last one's parent isn't there
			if round {
				want = 8 * n
			}
			if faults != want {
				t.Fatalf("round %t: %d faults, want %d", round, faults, want)
			}
		}
		if !linear {
			t.Errorf("round %t: %d take %s, 8 times as many %s", round, n, small, large)
		}
	}
}
