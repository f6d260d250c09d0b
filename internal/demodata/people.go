package demodata

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
)

// apiKeys: the revoked one carries an e-mail that owns projects, so that a
// service which forgets is_active is found out.
var apiKeys = []struct {
	user, key, email string
	active           bool
}{
	{"user_demo_owner", OwnerKey, OwnerEmail, true},
	{"user_demo_admin", AdminKey, AdminEmail, true},
	{"user_demo_other", OtherKey, OtherEmail, true},
	{"user_demo_owner_former", InactiveKey, OwnerEmail, false},
}

// FillPeople fills projects and api_keys. What is there already stays.
func FillPeople(ctx context.Context, db *pgx.Conn) error {
	var b pgx.Batch
	for _, p := range projects {
		b.Queue(`insert into projects (created_at, course_name, description) values ($1, $2, $3)
			on conflict (course_name) do nothing`, earliest, p.name, p.description)
	}
	for _, k := range apiKeys {
		b.Queue(`insert into api_keys (user_id, key, created_at, modified_at, usage_count, is_active, email)
			values ($1, $2, $3, $3, 0, $4, $5) on conflict (user_id) do nothing`,
			k.user, k.key, earliest, k.active, k.email)
	}
	if err := db.SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("fill projects and keys: %w", err)
	}
	return nil
}

// rolesKey is the platform's hash: course name to JSON.
const rolesKey = "course_metadatas"

// metadata is one value of the hash, with the names the platform uses.
type metadata struct {
	IsPrivate      bool     `json:"is_private"`
	Owner          string   `json:"course_owner"`
	Admins         []string `json:"course_admins"`
	ApprovedEmails []string `json:"approved_emails_list"`
	Questions      []string `json:"example_questions"`
	Banner         *string  `json:"banner_image_s3"`
	Intro          string   `json:"course_intro_message"`
	SystemPrompt   *string  `json:"system_prompt"`
	DisabledModels []string `json:"disabled_models"`
	Description    string   `json:"project_description"`
	DocumentsOnly  bool     `json:"documentsOnly"`
	IsFrozen       bool     `json:"is_frozen"`
}

// FillRoles writes owner and admins of every project to the platform's Redis.
// Some addresses are spelled in another case than the person signs in with.
func FillRoles(ctx context.Context, rdb redis.UniversalClient) error {
	values := make([]any, 0, 2*len(projects))
	for _, p := range projects {
		v, err := json.Marshal(metadata{
			IsPrivate:      p.private,
			Owner:          p.owner,
			Admins:         append([]string{}, p.admins...), // [] rather than null
			ApprovedEmails: []string{"student-0001@example.edu", strings.ToUpper("student-0002@example.edu")},
			Description:    p.description,
			IsFrozen:       p.frozen,
		})
		if err != nil {
			return err
		}
		values = append(values, p.name, v)
	}
	if err := rdb.HSet(ctx, rolesKey, values...).Err(); err != nil {
		return fmt.Errorf("fill roles: %w", err)
	}
	return nil
}
