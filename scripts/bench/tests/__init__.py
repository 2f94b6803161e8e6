"""Run with: python3 -m unittest discover -s scripts/bench/tests -t scripts"""
