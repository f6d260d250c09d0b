// Package redisurl makes a client of whatever Redis a URL names: one server, a
// master behind sentinels, a cluster; with TLS or without.
package redisurl

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// The times of every connection: a request or a dispatch pass waits for it. An
// earlier deadline of the caller's counts, too.
const (
	dialTimeout   = time.Second
	readTimeout   = 2 * time.Second
	clusterReload = 3 * time.Second // else a failover is seen after 48 s
)

// Open makes a client of the Redis that a URL names; it does not connect yet:
//
//	redis://, rediss://             one server, with TLS
//	redis-sentinel://a,b,c/0?master=NAME&sentinel_password=…
//	redis-cluster://a,b,c
//
// The last two take &tls=true. User and password are those of the servers. An
// error says what a URL looks like, and nothing of this one.
func Open(raw string) (redis.UniversalClient, error) {
	scheme, _, _ := strings.Cut(raw, "://")
	switch scheme {
	case "redis-sentinel":
		return sentinel(raw)
	case "redis-cluster":
		return cluster(raw)
	}
	opts, err := redis.ParseURL(raw)
	if err != nil {
		return nil, bare(err)
	}
	opts.DialTimeout, opts.ReadTimeout, opts.DialerRetries, opts.MaxRetries = dialTimeout, readTimeout, 1, 1
	opts.ContextTimeoutEnabled = true
	return redis.NewClient(opts), nil
}

func sentinel(raw string) (redis.UniversalClient, error) {
	u, more, err := hosts(raw)
	if err != nil {
		return nil, err
	}
	q := u.Query()
	if q.Get("master") == "" {
		return nil, errors.New("redis-sentinel:// needs ?master=NAME, the name that the sentinels know the master by")
	}
	sentinelPassword := q.Get("sentinel_password")
	q.Set("master_name", q.Get("master"))
	q.Del("master")
	q.Del("sentinel_password")
	opts, err := redis.ParseFailoverURL(address(u, more, q))
	if err != nil {
		return nil, bare(err)
	}
	// go-redis takes those of the URL for the sentinels'.
	opts.Username = u.User.Username()
	opts.Password, _ = u.User.Password()
	opts.SentinelUsername, opts.SentinelPassword = "", sentinelPassword
	opts.DialTimeout, opts.ReadTimeout, opts.DialerRetries, opts.MaxRetries = dialTimeout, readTimeout, 1, 1
	opts.ContextTimeoutEnabled = true
	anyName(opts.TLSConfig)
	return redis.NewFailoverClient(opts), nil
}

// anyName lets each server show a certificate of its own name or address.
// go-redis expects that of the URL's first host from all of them.
func anyName(c *tls.Config) {
	if c != nil {
		c.ServerName = ""
	}
}

func cluster(raw string) (redis.UniversalClient, error) {
	u, more, err := hosts(raw)
	if err != nil {
		return nil, err
	}
	if strings.Trim(u.Path, "/") != "" {
		return nil, errors.New("redis-cluster:// takes no database number: a cluster has one")
	}
	opts, err := redis.ParseClusterURL(address(u, more, u.Query()))
	if err != nil {
		return nil, bare(err)
	}
	opts.DialTimeout, opts.ReadTimeout, opts.DialerRetries, opts.MaxRedirects = dialTimeout, readTimeout, 1, 3
	opts.ContextTimeoutEnabled = true
	opts.ClusterStateReloadInterval = clusterReload
	anyName(opts.TLSConfig)
	return redis.NewClusterClient(opts), nil
}

// hosts reads a URL of several hosts, which net/url does not: all but the first
// are taken out.
func hosts(raw string) (u *url.URL, more []string, err error) {
	scheme, rest, _ := strings.Cut(raw, "://")
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	user := ""
	if i := strings.LastIndex(authority, "@"); i >= 0 {
		user, authority = authority[:i+1], authority[i+1:]
	}
	all := strings.Split(authority, ",")
	if u, err = url.Parse(scheme + "://" + user + all[0] + tail); err != nil {
		return nil, nil, bare(err)
	}
	return u, all[1:], nil
}

// address writes a URL of several hosts as go-redis reads it.
func address(u *url.URL, more []string, q url.Values) string {
	for _, h := range more {
		q.Add("addr", h)
	}
	scheme := "redis"
	if q.Get("tls") == "true" {
		scheme = "rediss"
	}
	q.Del("tls")
	return (&url.URL{Scheme: scheme, User: u.User, Host: u.Host, Path: u.Path, RawQuery: q.Encode()}).String()
}

// bare takes the URL out of an error: it may hold a password.
func bare(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		err = e.Err
	}
	return fmt.Errorf("must be a URL such as redis://host:6379/0, redis-sentinel://a:26379,b:26379/0?master=NAME or redis-cluster://a:7000,b:7001: %w", err)
}
