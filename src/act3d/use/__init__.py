"""From files to tensors to answers with names: what every command that uses a model goes through."""
