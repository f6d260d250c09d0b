package ports

import (
	"net"
	"testing"
)

func TestReserve(t *testing.T) {
	s, err := Reserve([]string{"a", "b"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if l, err := net.Listen("tcp", s.Addr("a")); err == nil {
		t.Errorf("%v is not held", l.Addr())
	}
	if err := s.Release("a"); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", s.Addr("a"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	again, err := Reserve([]string{"a", "b"}, s.Numbers())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if again.Addr("b") != s.Addr("b") {
		t.Errorf("a free port was not taken again: %s, then %s", s.Addr("b"), again.Addr("b"))
	}
	if again.Addr("a") == s.Addr("a") {
		t.Errorf("%s is somebody else's", s.Addr("a"))
	}
}
