import dataclasses
import threading

import torch

from autoprune.finetuning.teacher import Teacher


def test_a_model_that_holds_a_lock_has_a_teacher_too(small_task):
    small_task.model.lock = threading.Lock()
    x = small_task.example_inputs[0]
    assert torch.allclose(Teacher(small_task).answer((x,)), small_task.model.eval()(x), atol=1e-5)


def test_repeated_batch_is_answered_from_memory(small_task):
    asked = []

    def forward(model, batch):
        asked.append(len(batch[0]))
        return model(batch[0])

    teacher = Teacher(dataclasses.replace(small_task, forward=forward))
    x, labels = torch.randn(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64)
    first = teacher.answer((x, labels))
    assert torch.equal(teacher.answer((x.clone(), labels)), first)
    assert len(asked) == 1
    x[0, 0, 0, 0] += 1
    assert not torch.equal(teacher.answer((x, labels)), first)
    assert len(asked) == 2


def test_what_cannot_be_told_apart_is_asked_each_time(small_task):
    asked = []

    def forward(model, batch):
        asked.append(1)
        return model(batch["x"])

    teacher = Teacher(dataclasses.replace(small_task, forward=forward))
    batch = {"x": torch.randn(2, 1, 8, 8), "who": object()}
    for _ in range(2):
        teacher.answer(batch)
    assert len(asked) == 2


def test_a_task_that_does_not_compare_outputs_has_no_teacher(small_task):
    assert Teacher.of(dataclasses.replace(small_task, distance=None)) is None
