"""Detection for people: which pictures and videos are meant, and what is written about them."""
