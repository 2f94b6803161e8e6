"""The parts of scripts/compare, by duty. What is measured: cells. Who is measured: brokers. Where: placement, machine.
By whom: generator. When: schedule. What came of it: results. How it is shown: tables, plots, page, readme."""
