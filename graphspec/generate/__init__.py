"""What a trained model says: sequences that go on, one step after another."""
