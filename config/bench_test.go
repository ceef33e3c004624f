package config

import "testing"

// A course of 1,000 users and 50 groups.
func BenchmarkParse(b *testing.B) {
	data := []byte(largeClass())
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, report := Parse("", data); report.Err() != nil {
			b.Fatal(report.Err())
		}
	}
}
