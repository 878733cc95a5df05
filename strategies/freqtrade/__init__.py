"""Runs strategies written for freqtrade: what such a file imports is offered here under freqtrade's names."""
