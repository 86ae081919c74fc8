package zaelimiter

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/extauthz/extauthz/pkg/hierarchy"
	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// The prefixes of the attributes of limits: session quotas have one of their
// own there, so that older readers don't see them.
const (
	prefixLimit  = "l_"
	prefixWindow = "w_"
)

// level is what an item says as a level. It is false where no item here can
// have its name.
func (w *world) level(ref hierarchy.Ref, a attributes) (hierarchy.Level, bool) {
	if err := ref.Check(); err != nil {
		w.lose(ref, featureName, "", err.Error())
		return hierarchy.Level{}, false
	}
	if on, said := a.flag("cascade"); said {
		w.cascades[ref] = on
	}
	return hierarchy.Level{Limits: w.limits(ref, a), Mode: modeOf(a)}, true
}

// modeOf is the mode that `disabled` stands for. A word that isn't known is an
// explicit no there.
func modeOf(a attributes) ratelimit.Mode {
	if disabled, said := a.flag("disabled"); said {
		if disabled {
			return ratelimit.ModeDisabled
		}
		return ratelimit.ModeOn
	}
	switch a.text("disabled") {
	case "":
		return ratelimit.ModeUnset
	case "bypass":
		return ratelimit.ModeBypass
	}
	return ratelimit.ModeOn
}

// limits are an item's limits in the order of their names. One that can't be
// said here is left out.
func (w *world) limits(ref hierarchy.Ref, a attributes) []ratelimit.Limit {
	found := map[string]string{} // :: limit -> prefix
	for attribute := range a {
		for _, prefix := range []string{prefixLimit, prefixWindow} {
			name, ok := strings.CutPrefix(attribute, prefix)
			if name, ok2 := strings.CutSuffix(name, "_cp"); ok && ok2 {
				if found[name] != "" {
					w.lose(ref, featureLimit, name, "it is there twice, so that zae-limiter can't read the level either: none of its limits is imported")
					return nil
				}
				found[name] = prefix
			}
		}
	}
	var limits []ratelimit.Limit
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if l, ok := w.limit(ref, a, name, found[name]); ok {
			limits = append(limits, l)
		}
	}
	if len(limits) > hierarchy.MaxLimits {
		for _, l := range limits[hierarchy.MaxLimits:] {
			w.lose(ref, featureLimit, l.Name, fmt.Sprintf("a level has at most %d limits here: it is left out", hierarchy.MaxLimits))
		}
		limits = limits[:hierarchy.MaxLimits]
	}
	if len(found) > 0 && len(limits) == 0 {
		w.lose(ref, featureLimit, "", "the level is left without limits: those of the next level apply")
	}
	return limits
}

func (w *world) limit(ref hierarchy.Ref, a attributes, name, prefix string) (ratelimit.Limit, bool) {
	at := func(field string) string { return prefix + name + "_" + field }
	lose := func(feature, format string, args ...any) (ratelimit.Limit, bool) {
		w.lose(ref, feature, name, fmt.Sprintf(format, args...))
		return ratelimit.Limit{}, false
	}
	capacity := a.number(at("cp"))
	switch seconds := a.number(at("rsa")); {
	case seconds != "":
		return lose(featureQuota, "%s tokens in each %s seconds after the first use: it is left out", capacity, seconds)
	case prefix == prefixWindow:
		return lose(featureLimit, "its window has no length, so that zae-limiter can't read the level either: it is left out")
	}
	if resets := a.text(at("rsched")); resets != "" {
		return lose(featureQuota, "%s tokens, full again by the schedule %s%s: it is left out", capacity, resets, zone(a))
	}
	if soft, _ := a.flag(at("soft")); soft {
		return lose(featureSoft, "it counts there and refuses nothing: it is left out")
	}
	l, err := limitOf(name, a[at("cp")], a[at("ra")], a[at("rp")])
	if err != nil {
		return lose(featureLimit, "%s: it is left out", err)
	}
	if schedule := a.text(at("sched")); schedule != "" {
		lose(featureSchedule, "%s%s: %s applies at all times", schedule, zone(a), l.Text())
	}
	return l, true
}

// zone is the time zone of an item's schedules, to be put behind one.
func zone(a attributes) string {
	if z := a.text("sched_tz"); z != "" {
		return " in " + z
	}
	return " in UTC"
}

// limitOf makes a limit of whole tokens and seconds.
func limitOf(name string, capacity, amount, period types.AttributeValue) (ratelimit.Limit, error) {
	var numbers [3]int64
	for i, v := range []types.AttributeValue{capacity, amount, period} {
		n, ok := v.(*types.AttributeValueMemberN)
		if !ok {
			return ratelimit.Limit{}, fmt.Errorf("its %s is missing", []string{"capacity", "refill amount", "refill period"}[i])
		}
		var err error
		if numbers[i], err = strconv.ParseInt(n.Value, 10, 64); err != nil {
			return ratelimit.Limit{}, fmt.Errorf("%s is no whole number", n.Value)
		}
	}
	if numbers[2] > int64(ratelimit.MaxPeriod/time.Second) {
		return ratelimit.Limit{}, fmt.Errorf("a period of %d seconds is too long", numbers[2])
	}
	l := ratelimit.Custom(name, numbers[0], numbers[1], time.Duration(numbers[2])*time.Second)
	return l, l.Validate()
}
