"""The pages, one file a subject: each takes a request of somebody who was let in."""
