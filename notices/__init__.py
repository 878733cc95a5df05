"""Tells people elsewhere than in the chat what happens: webhooks and e-mail."""
