// Package ports hands out free ports of the loopback address.
package ports

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// Below the range from which the kernel serves outgoing connections: one of
// those could take a port between its release and its component's start.
const (
	first = 20000
	last  = 32000
)

// Set is a number of ports by name. Each is held open until the component
// that it is meant for starts, so that nobody else gets it.
type Set struct {
	numbers map[string]int

	mu   sync.Mutex
	held map[string]net.Listener
}

// Reserve takes a port for each name: the wanted one if it is free.
func Reserve(names []string, wanted map[string]int) (*Set, error) {
	s := &Set{numbers: map[string]int{}, held: map[string]net.Listener{}}
	for _, name := range names {
		l, err := listen(wanted[name])
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.held[name], s.numbers[name] = l, l.Addr().(*net.TCPAddr).Port
	}
	return s, nil
}

func listen(wanted int) (l net.Listener, err error) {
	if wanted != 0 {
		if l, err = net.Listen("tcp", address(wanted)); err == nil {
			return l, nil
		}
	}
	for range 100 {
		if l, err = net.Listen("tcp", address(first+rand.IntN(last-first))); err == nil {
			return l, nil
		}
	}
	return nil, fmt.Errorf("no free port on 127.0.0.1 between %d and %d: %w", first, last, err)
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// Addr is where the component of this name listens.
func (s *Set) Addr(name string) string { return address(s.numbers[name]) }

// Numbers are all ports by name.
func (s *Set) Numbers() map[string]int { return s.numbers }

// Listener hands a held port over to a server of this process.
func (s *Set) Listener(name string) net.Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.held[name]
	delete(s.held, name)
	return l
}

// Release frees the ports of child processes that are about to start. All that
// start together are released before the first of them: a child that has been
// forked and has not begun its program yet still holds what was open then.
func (s *Set) Release(names ...string) error {
	for _, name := range names {
		if err := s.Listener(name).Close(); err != nil {
			return fmt.Errorf("release port of %s: %w", name, err)
		}
	}
	return nil
}

// Close frees what nobody has taken.
func (s *Set) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for name, l := range s.held {
		errs = append(errs, l.Close())
		delete(s.held, name)
	}
	return errors.Join(errs...)
}
