"""Programs that train badly, programs that train well, and what rules say of them; see README.md beside it."""
