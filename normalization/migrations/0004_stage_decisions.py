"""Decisions replace aliases: the tables, the triggers that keep them append-only, and the old rows.

Each alias becomes a decision in a batch of its own, at the time and by the person that made it; a
retired one gets a second batch that retired it. Batches are made in order of time, so their ids
are too. Permissions and admin log entries of aliases become those of decisions.
"""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

# One decision in force for a key. Not a unique index: its rows have room for 2,704 bytes, and a
# folded text of 255 characters may have more.
ONE_IN_FORCE = """
ALTER TABLE normalization_stagedecision ADD CONSTRAINT stage_decision_active_key
    EXCLUDE USING hash (key WITH =) WHERE (superseded_at IS NULL);
"""

NOT_ONE_IN_FORCE = """
ALTER TABLE normalization_stagedecision DROP CONSTRAINT stage_decision_active_key;
"""

TRIGGERS = """
CREATE FUNCTION stage_decision_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    allowed normalization_stagedecision;
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.superseded_at IS NULL AND NEW.superseded_at IS NOT NULL THEN
        allowed := OLD;
        allowed.superseded_at := NEW.superseded_at;
        allowed.superseded_by_id := NEW.superseded_by_id;
        IF NEW IS NOT DISTINCT FROM allowed THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'Decisions are append-only: change, retire or undo them instead.';
END $$;
CREATE TRIGGER stage_decision_append_only BEFORE UPDATE OR DELETE ON normalization_stagedecision
    FOR EACH ROW EXECUTE FUNCTION stage_decision_append_only();

CREATE FUNCTION stage_decision_batch_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    allowed normalization_decisionbatch;
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.undone_by_id IS NULL AND NEW.undone_by_id IS NOT NULL THEN
        allowed := OLD;
        allowed.undone_by_id := NEW.undone_by_id;
        IF NEW IS NOT DISTINCT FROM allowed THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'Decision batches are append-only: undo them instead.';
END $$;
CREATE TRIGGER stage_decision_batch_append_only BEFORE UPDATE OR DELETE
    ON normalization_decisionbatch
    FOR EACH ROW EXECUTE FUNCTION stage_decision_batch_append_only();
"""

NO_TRIGGERS = """
DROP TRIGGER stage_decision_append_only ON normalization_stagedecision;
DROP FUNCTION stage_decision_append_only();
DROP TRIGGER stage_decision_batch_append_only ON normalization_decisionbatch;
DROP FUNCTION stage_decision_batch_append_only();
"""

STAGES = ['pre-seed', 'seed', 'series-a', 'series-b', 'series-c', 'series-c+']
CHOICES = [(stage, stage) for stage in STAGES]


def move_aliases(apps, schema_editor):
    StageAlias = apps.get_model("normalization", "StageAlias")
    aliases = list(StageAlias.objects.order_by("id"))
    events = [(alias.created_at, 0, alias.pk, alias) for alias in aliases]
    events += [(alias.retired_at, 1, alias.pk, alias) for alias in aliases if alias.retired_at]
    made = {}
    retired = {}
    for at, retires, pk, alias in sorted(events, key=lambda event: event[:3]):
        batch = make_batch(apps, at, alias.retired_by if retires else alias.decided_by, retires)
        (retired if retires else made)[pk] = batch
    StageDecision = apps.get_model("normalization", "StageDecision")
    StageDecision.objects.bulk_create(
        [
            StageDecision(
                spelling=alias.spelling, key=alias.key, verdict="stage", stage=alias.stage,
                reason=alias.reason, decided_by=alias.decided_by, created_at=alias.created_at,
                batch=made[alias.pk], superseded_at=alias.retired_at,
                superseded_by=retired.get(alias.pk),
            )
            for alias in aliases
        ],
        batch_size=1000,
    )


def make_batch(apps, at, author, retires):
    return apps.get_model("normalization", "DecisionBatch").objects.create(
        action="retire" if retires else "apply", source="admin", author=author, created_at=at,
        reason="Moved from the table of aliases.",
    )


def restore_aliases(apps, schema_editor):
    """Decisions with a stage become aliases again; the old table holds no other verdict."""
    StageAlias = apps.get_model("normalization", "StageAlias")
    StageDecision = apps.get_model("normalization", "StageDecision")
    decisions = StageDecision.objects.filter(verdict="stage").select_related("superseded_by")
    for decision in decisions.order_by("id"):
        if not decision.key or len(decision.spelling) > 100 or len(decision.key) > 200:
            continue
        alias = StageAlias.objects.create(
            spelling=decision.spelling, key=decision.key, stage=decision.stage,
            decided_by=decision.decided_by, reason=decision.reason,
            retired_at=decision.superseded_at,
            retired_by=decision.superseded_by.author if decision.superseded_by else "",
        )
        StageAlias.objects.filter(pk=alias.pk).update(created_at=decision.created_at)


def rename_permissions(apps, schema_editor):
    rename(apps, "stagealias", "stagedecision", "stage alias", "stage decision")


def rename_permissions_back(apps, schema_editor):
    rename(apps, "stagedecision", "stagealias", "stage decision", "stage alias")


def rename(apps, old, new, old_words, new_words):
    content_type = apps.get_model("contenttypes", "ContentType").objects.filter(
        app_label="normalization", model=old
    ).first()
    if content_type is None:
        return
    for permission in apps.get_model("auth", "Permission").objects.filter(content_type=content_type):
        permission.codename = permission.codename.replace(old, new)
        permission.name = permission.name.replace(old_words, new_words)
        permission.save()
    content_type.model = new
    content_type.save()


class Migration(migrations.Migration):

    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("normalization", "0003_guard_counts"),
    ]

    operations = [
        migrations.CreateModel(
            name='DecisionBatch',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('action', models.CharField(choices=[('apply', 'Apply'), ('retire', 'Retire'), ('undo', 'Undo')], max_length=10)),
                ('source', models.CharField(choices=[('admin', 'Admin'), ('file', 'File'), ('pack', 'Pack'), ('command', 'Command')], max_length=10)),
                ('author', models.CharField(max_length=150)),
                ('reason', models.CharField(blank=True, max_length=500)),
                ('file_digest', models.CharField(blank=True, help_text='SHA-256 of the file, in hexadecimal.', max_length=64)),
                ('plan_hash', models.CharField(blank=True, max_length=64)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('undone_by', models.OneToOneField(editable=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='undoes', to='normalization.decisionbatch')),
            ],
            options={
                'ordering': ('-id',),
                'verbose_name_plural': 'decision batches',
            },
        ),
        migrations.CreateModel(
            name='StageDecision',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('spelling', models.CharField(blank=True, max_length=255)),
                ('key', models.TextField(blank=True, editable=False, help_text='The folded spelling that is looked up.')),
                ('verdict', models.CharField(choices=[('stage', 'stage'), ('outside', 'outside'), ('open', 'open')], max_length=10)),
                ('stage', models.CharField(blank=True, choices=CHOICES, max_length=20)),
                ('kind', models.CharField(blank=True, help_text='A word for grouping.', max_length=60)),
                ('note', models.CharField(blank=True, help_text='Public: clients read it.', max_length=500)),
                ('reason', models.CharField(help_text='For operators: why, or from where.', max_length=500)),
                ('decided_by', models.CharField(max_length=150)),
                ('restores', models.ForeignKey(editable=False, help_text='The decision that an undo brought back in this row.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='copies', to='normalization.stagedecision')),
                ('created_at', models.DateTimeField(editable=False)),
                ('superseded_at', models.DateTimeField(editable=False, null=True)),
                ('batch', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='decisions', to='normalization.decisionbatch')),
                ('superseded_by', models.ForeignKey(editable=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='superseded', to='normalization.decisionbatch')),
            ],
            options={
                'ordering': ('key', 'id'),
            },
        ),
        migrations.AddConstraint(
            model_name='stagedecision',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('verdict', 'stage'), models.Q(('stage', ''), _negated=True)), models.Q(models.Q(('verdict', 'stage'), _negated=True), ('stage', '')), _connector='OR'), name='stage_decision_stage_given'),
        ),
        migrations.AddConstraint(
            model_name='stagedecision',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('superseded_at__isnull', True), ('superseded_by__isnull', True)), models.Q(('superseded_at__isnull', False), ('superseded_by__isnull', False)), _connector='OR'), name='stage_decision_superseded_once'),
        ),
        migrations.RunSQL(ONE_IN_FORCE, NOT_ONE_IN_FORCE),
        migrations.RunSQL(TRIGGERS, NO_TRIGGERS),
        migrations.RunPython(move_aliases, restore_aliases),
        migrations.RunPython(rename_permissions, rename_permissions_back),
        migrations.RunSQL("SET CONSTRAINTS ALL IMMEDIATE", "SET CONSTRAINTS ALL IMMEDIATE"),
        migrations.DeleteModel(name='StageAlias'),
    ]
