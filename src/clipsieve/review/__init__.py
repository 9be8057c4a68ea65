"""People decide: queues, the ledger of verdicts, and the page (extra `review`)."""
