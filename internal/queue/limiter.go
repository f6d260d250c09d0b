package queue

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/go-redis/redis_rate/v10"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// A request waits so long for its look-up, and after one that failed there is
// none for so long: a Redis that is away or silent must cost requests nothing.
const (
	takeLimit = 100 * time.Millisecond
	takePause = 2 * time.Second
)

// Limiter counts requests in the queue's Redis, for all processes together.
// A minute's worth may come at once; each that was used comes back after its
// share of the minute (GCRA). Without Redis everybody passes.
type Limiter struct {
	limiter *redis_rate.Limiter
	limit   redis_rate.Limit
	log     *slog.Logger

	mu    sync.Mutex
	again time.Time // when Redis is asked again; zero while it answers
}

// NewLimiter makes a Limiter of so many requests a minute; 0 is no limit.
func (q *Queue) NewLimiter(perMinute int, log *slog.Logger) *Limiter {
	return &Limiter{limiter: redis_rate.NewLimiter(q.rdb), limit: redis_rate.PerMinute(perMinute), log: log}
}

// Take counts one request of a person, an e-mail in any case, and says whether
// it may pass. Redis gets to know a hash of who it was.
func (l *Limiter) Take(ctx context.Context, who string) jobs.Allowance {
	if l.limit.Rate == 0 || !l.mayAsk() {
		return jobs.Allowance{OK: true}
	}
	// A client that leaves says nothing about Redis.
	look, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeLimit)
	defer cancel()
	sum := sha256.Sum256([]byte(strings.ToLower(who)))
	res, err := l.limiter.Allow(look, "bulkexport:"+hex.EncodeToString(sum[:]), l.limit)
	l.learn(err)
	if err != nil {
		return jobs.Allowance{OK: true}
	}
	return jobs.Allowance{
		OK: res.Allowed > 0, Limit: l.limit.Rate, Remaining: res.Remaining,
		Reset: res.ResetAfter, RetryAfter: max(res.RetryAfter, 0),
	}
}

// mayAsk lets everybody ask while Redis answers, and else one every takePause.
func (l *Limiter) mayAsk() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Before(l.again) {
		return false
	}
	if !l.again.IsZero() {
		l.again = now.Add(takePause)
	}
	return true
}

// learn draws the conclusion from a look-up.
func (l *Limiter) learn(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	answered := l.again.IsZero()
	switch {
	case err != nil:
		l.again = time.Now().Add(takePause)
		if answered {
			l.log.Warn("requests are not limited: the queue's Redis does not answer", "error", err)
		}
	case !answered:
		l.again = time.Time{}
		l.log.Info("requests are limited again")
	}
}
