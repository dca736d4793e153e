"""The realtime bench's scenarios: each module has ``run(stage)``, which measures one thing and reports it."""
