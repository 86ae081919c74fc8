package hierarchy

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"time"
	"unicode/utf8"

	"github.com/extauthz/extauthz/pkg/ratelimit"
)

// Text is a raw value in JSON: a string, or, where it isn't UTF-8,
// {"base64": "..."}, so that no byte of it is lost.
type Text string

type base64Text struct {
	Base64 []byte `json:"base64"`
}

// MarshalJSON writes it.
func (t Text) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(t)) {
		return json.Marshal(string(t))
	}
	return json.Marshal(base64Text{[]byte(t)})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (t *Text) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		var raw base64Text
		err := json.Unmarshal(b, &raw)
		*t = Text(raw.Base64)
		return err
	}
	return json.Unmarshal(b, (*string)(t))
}

type refJSON struct {
	Kind     string `json:"kind"`
	Name     Text   `json:"name,omitempty"`
	Resource Text   `json:"resource,omitempty"`
}

// MarshalJSON is {"kind", "name", "resource"}. A name that isn't UTF-8 is
// {"base64"}, here and wherever a name stands in this package's JSON.
func (r Ref) MarshalJSON() ([]byte, error) { return json.Marshal(r.json()) }

func (r Ref) json() refJSON {
	return refJSON{Kind: r.Kind.String(), Name: Text(r.Name), Resource: Text(r.Resource)}
}

// UnmarshalJSON reads what MarshalJSON writes.
func (r *Ref) UnmarshalJSON(b []byte) error {
	var j refJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	return r.from(&j)
}

func (r *Ref) from(j *refJSON) error {
	k, ok := ParseKind(j.Kind)
	if !ok {
		return fmt.Errorf("kind %q is not known: written by a newer version", j.Kind)
	}
	*r = Ref{Kind: k, Name: string(j.Name), Resource: string(j.Resource)}
	return nil
}

type itemJSON struct {
	refJSON
	Revision      int64             `json:"revision"`
	Deleted       bool              `json:"deleted,omitempty"`
	UpdatedAt     time.Time         `json:"updated_at,omitzero"`
	Manager       string            `json:"manager,omitempty"`
	Limits        []limitJSON       `json:"limits,omitempty"`
	Mode          string            `json:"mode,omitempty"`
	OnUnavailable string            `json:"on_unavailable,omitempty"`
	DisplayName   string            `json:"display_name,omitempty"`
	Tier          Text              `json:"tier,omitempty"`
	Parent        Text              `json:"parent,omitempty"`
	Cascade       bool              `json:"cascade,omitempty"`
	Metadata      map[string]string `json:"metadata,omitempty"`
}

// itemFields are the fields of itemJSON.
var itemFields = [...]string{
	"kind", "name", "resource", "revision", "deleted", "updated_at", "manager", "limits", "mode", "on_unavailable",
	"display_name", "tier", "parent", "cascade", "metadata",
}

// MergeJSON is the item's JSON, with what the JSON of an earlier item holds
// that this program doesn't know: another version of it does. Nothing is left
// of that once the item is deleted.
func (i *Item) MergeJSON(earlier []byte) ([]byte, error) {
	now, err := json.Marshal(i)
	if err != nil || len(earlier) == 0 || i.Deleted {
		return now, err
	}
	var was, is map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(earlier, &was), json.Unmarshal(now, &is)); err != nil {
		return nil, err
	}
	for _, f := range itemFields {
		delete(was, f)
	}
	if len(was) == 0 {
		return now, nil
	}
	maps.Copy(is, was)
	return json.Marshal(is)
}

type limitJSON struct {
	Name          string  `json:"name"`
	Rate          int64   `json:"rate"`
	PeriodSeconds float64 `json:"period_seconds"`
	Burst         int64   `json:"burst"`
}

// MarshalJSON is one flat object; what the item doesn't say is left out.
func (i Item) MarshalJSON() ([]byte, error) {
	j := itemJSON{
		refJSON: i.Ref.json(), Revision: i.Revision, Deleted: i.Deleted, UpdatedAt: i.UpdatedAt, Manager: i.Manager,
		Mode: i.Level.Mode.String(), OnUnavailable: i.Level.OnUnavailable.String(),
		DisplayName: i.Profile.DisplayName, Tier: Text(i.Profile.Tier), Parent: Text(i.Profile.Parent),
		Cascade: i.Profile.Cascade, Metadata: i.Profile.Metadata,
	}
	for _, l := range i.Level.Limits {
		j.Limits = append(j.Limits, limitJSON{l.Name, l.Rate, l.Period.Seconds(), l.Burst})
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON writes. What it doesn't know it leaves
// out; a value that it can't understand is an error.
func (i *Item) UnmarshalJSON(b []byte) error {
	var j itemJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	got := Item{Revision: j.Revision, Deleted: j.Deleted, UpdatedAt: j.UpdatedAt, Manager: j.Manager, Profile: Profile{
		DisplayName: j.DisplayName, Tier: string(j.Tier), Parent: string(j.Parent), Cascade: j.Cascade, Metadata: j.Metadata,
	}}
	if err := got.Ref.from(&j.refJSON); err != nil {
		return err
	}
	var ok bool
	if got.Level.Mode, ok = ratelimit.ParseMode(j.Mode); !ok && j.Mode != "" {
		return fmt.Errorf("mode %q is not known: written by a newer version", j.Mode)
	}
	if got.Level.OnUnavailable, ok = ratelimit.ParseFallback(j.OnUnavailable); !ok && j.OnUnavailable != "" {
		return fmt.Errorf("on_unavailable %q is not known: written by a newer version", j.OnUnavailable)
	}
	for _, l := range j.Limits {
		period := time.Duration(math.Round(l.PeriodSeconds*1000)) * time.Millisecond
		got.Level.Limits = append(got.Level.Limits, ratelimit.Limit{Name: l.Name, Rate: l.Rate, Period: period, Burst: l.Burst})
	}
	*i = got
	return nil
}
