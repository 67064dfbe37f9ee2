"""Tests of the page that runs plans in a browser."""
