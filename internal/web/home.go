package web

import (
	"net/http"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// home lists a person's projects.
func (p *Pages) home(v *visit) error {
	list, err := p.cfg.Service.Projects(v.r.Context(), v.who)
	if err != nil {
		return err
	}
	return p.show(v, http.StatusOK, "home", frame{Title: "Your projects", Body: struct {
		Projects []jobs.OwnProject
		Operates bool
	}{list, p.cfg.Service.Operates(v.who)}})
}
