"""Following a quad through a clip: poses, appearance, cuts, smoothing in time, and when the edit is seen."""
