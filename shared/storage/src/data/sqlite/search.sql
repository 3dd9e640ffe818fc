-- The row id is the item's number. The text itself is not kept: it can be made again from the item.
CREATE VIRTUAL TABLE "{p}search" USING fts5(text, content='', contentless_delete=1);
