package config

import "strings"

// Nearest returns the candidate that a word was probably meant to be, or "".
func Nearest(word string, candidates []string) string { return nearest(word, candidates) }

// NearKey returns the key that a word with a dot in it is, or was probably meant to be, or "".
func NearKey(word string) string {
	if !strings.Contains(word, ".") {
		return ""
	}
	paths := []string{}
	for _, doc := range Keys() {
		paths = append(paths, doc.Path)
	}
	return nearest(word, paths)
}

// nearest returns the candidate that a word was probably meant to be, or "".
func nearest(word string, candidates []string) string {
	best, least := "", 0
	for _, candidate := range candidates {
		allowed := min(max(1, len(candidate)/3), 3)
		if d := distance(fold(word), fold(candidate), allowed); d <= allowed && (best == "" || d < least) {
			best, least = candidate, d
		}
	}
	if best != "" || len(word) < 3 {
		return best
	}
	// A beginning that only one of them has.
	for _, candidate := range candidates {
		if strings.HasPrefix(fold(candidate), fold(word)) {
			if best != "" {
				return ""
			}
			best = candidate
		}
	}
	return best
}

func fold(word string) string { return strings.ReplaceAll(strings.ToLower(word), "-", "_") }

// distance counts the letters that are missing, too many, wrong or swapped between two words; beyond the limit it need not be exact.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
