package web

import (
	"net/http"
	"net/url"
	"time"
	_ "time/tzdata" // the browser's zone is known on every machine
)

// zone is what times are shown in, and what days are counted in.
type zone struct{ *time.Location }

// zoneCookie holds the name of the browser's zone; app.js writes it.
const zoneCookie = "tz"

// zoneOf is the browser's zone, or UTC until it is known.
func zoneOf(r *http.Request) zone {
	c, err := r.Cookie(zoneCookie)
	if err != nil {
		return zone{time.UTC}
	}
	name, err := url.PathUnescape(c.Value)
	if err != nil || name == "" || name == "Local" {
		return zone{time.UTC}
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return zone{time.UTC}
	}
	return zone{loc}
}

// instant is the first moment of a day of the zone, and so many days later, as
// an instant with offset. What is no day goes on as it is: the service says
// what is wrong with it.
func (z zone) instant(day string, later int) string {
	t, err := time.ParseInLocation(time.DateOnly, day, z.Location)
	if err != nil {
		return day
	}
	return time.Date(t.Year(), t.Month(), t.Day()+later, 0, 0, 0, 0, z.Location).Format(time.RFC3339)
}

// span turns the two days of a form, both included, into the service's bounds.
func (z zone) span(from, to string) (string, string) { return z.instant(from, 0), z.instant(to, 1) }

// days is a spec's span in words: days where its bounds are a day's, else times.
func (z zone) days(from, to *time.Time) string {
	switch {
	case from == nil && to == nil:
		return "all time"
	case from == nil:
		return "until " + z.until(*to)
	case to == nil:
		return "since " + z.since(*from)
	}
	if a, b := z.since(*from), z.until(*to); a != b {
		return a + " to " + b
	}
	return z.since(*from)
}

const dayFormat = "2 January 2006"

func (z zone) since(t time.Time) string {
	if t = t.In(z.Location); z.startsDay(t) {
		return t.Format(dayFormat)
	}
	return z.moment(t)
}

func (z zone) until(t time.Time) string {
	if t = t.In(z.Location); z.startsDay(t) {
		return t.Add(-time.Nanosecond).Format(dayFormat)
	}
	return z.moment(t)
}

func (z zone) startsDay(t time.Time) bool {
	return t.Equal(time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, z.Location))
}

// moment is a time to the minute.
func (z zone) moment(t time.Time) string { return t.In(z.Location).Format("2 Jan 2006, 15:04") }

// input is what a date field shows for one of a spec's bounds.
func (z zone) input(t *time.Time, upper bool) string {
	if t == nil {
		return ""
	}
	at := t.In(z.Location)
	if upper {
		at = at.Add(-time.Nanosecond)
	}
	return at.Format(time.DateOnly)
}
