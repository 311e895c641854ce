"""Published numbers, repeated at full size: ``make reproduce DATA=folder`` runs all and writes docs/reproductions.md."""
