// Package e2e runs both programs, as they are built, against the real
// components. It holds tests only.
package e2e
