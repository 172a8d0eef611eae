"""What tests of texts write and read."""


def write(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows))
    return str(path)


def words(task, split="train", row=0):
    ids = getattr(task, split).x[row]
    return [task.vocabulary[i] for i in ids.tolist() if i]


def marked_words(task, split="train", row=0):
    part = getattr(task, split)
    return [task.vocabulary[i] for i, m in zip(part.x[row].tolist(), part.mask[row].tolist(), strict=True) if m]
